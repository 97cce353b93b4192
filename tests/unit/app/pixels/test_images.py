import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from app.errors import (
    BadOption,
    BrokenImage,
    ImageTooLarge,
    PasticheError,
    UnsupportedImage,
)
from app.pixels.containers.still import MAX_PROFILE
from app.pixels.images import (
    FORMATS,
    Format,
    Picture,
    Pixels,
    check_format,
    decode,
    encode,
    from_pillow,
    read_header,
    read_pixels,
    resize,
    to_pillow,
)
from tests.tools.image_files import (
    LINEAR,
    LINEAR_GREY,
    SHADES,
    SWAPPED,
    chunk,
    exif,
    grey_by_table,
    png_header,
    red_for_cyan,
    saved,
)

LIMIT = 1_000_000  # pixels; more than the pictures here have
DESCRIBED = ("jpeg", "png", "webp", "avif")  # the formats with EXIF and profiles


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def halves(mode: str, left: object, right: object) -> Image.Image:
    """Two colours side by side, 32 x 16."""
    image = Image.new(mode, (32, 16), left)  # type: ignore[arg-type]
    image.paste(right, (16, 0, 32, 16))  # type: ignore[arg-type]
    return image


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("format", "tolerance"), [("jpeg", 3), ("png", 0), ("webp", 5), ("avif", 4)]
)
def test_a_picture_survives_each_format(format: Format, tolerance: float) -> None:
    back = decode(encode(Picture(SHADES), format, 95), LIMIT)
    assert (back.format, back.size, back.alpha) == (format, (48, 32), None)
    assert back.rgb.dtype == np.uint8
    assert difference(back.rgb, SHADES) <= tolerance


@pytest.mark.parametrize("format", ["png", "webp", "avif"])
def test_alpha_survives_the_formats_that_have_it(format: Format) -> None:
    alpha = np.tile(np.arange(48, dtype=np.uint8) * 5 + 10, (32, 1))
    back = decode(encode(Picture(SHADES, alpha), format, 95), LIMIT)
    assert back.alpha is not None
    assert difference(back.alpha, alpha) <= (1 if format == "avif" else 0)


def test_a_gif_has_256_colours_close_to_the_pictures() -> None:
    back = decode(encode(Picture(SHADES), "gif"), LIMIT)
    assert len(np.unique(back.rgb.reshape(-1, 3), axis=0)) <= 256
    assert difference(back.rgb, SHADES) < 8


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_a_higher_quality_takes_more_bytes(format: Format) -> None:
    assert len(encode(Picture(SHADES), format, 95)) > 1.5 * len(encode(Picture(SHADES), format, 20))


@pytest.mark.parametrize(
    "content",
    [
        *(saved(Image.fromarray(SHADES), f) for f in ("PPM", "ICO", "TGA", "JPEG2000")),
        b"",
        b"a text",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(1000),
    ],
)
def test_content_of_another_format_is_not_supported(content: bytes) -> None:
    for read in (read_header, decode):
        with pytest.raises(
            UnsupportedImage, match=r"\(jpeg, png, webp, avif, heic, tiff, gif, bmp\)"
        ):
            read(content, LIMIT)


def test_a_jpeg_followed_by_further_pictures_is_a_jpeg() -> None:
    other = Image.new("RGB", (48, 32), "red")
    content = saved(
        Image.fromarray(SHADES), "MPO", save_all=True, append_images=[other], quality=95
    )
    assert opened(content).format == "MPO"
    still = read_header(content, LIMIT)
    assert (still.format, still.size) == ("jpeg", (48, 32))
    picture = decode(content, LIMIT)
    assert picture.format == "jpeg"
    assert difference(picture.rgb, SHADES) < 6


STORED = {  # by EXIF orientation: how the file stores an upright picture
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", DESCRIBED)
def test_pictures_of_every_orientation_become_upright(format: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](SHADES)))
    content = saved(stored, format, exif=exif(orientation), quality=95)
    still = read_header(content, LIMIT)
    assert (still.format, still.width, still.height) == (format, *stored.size)
    assert still.size == (48, 32)
    picture = decode(content, LIMIT)
    assert picture.size == (48, 32)
    assert difference(picture.rgb, SHADES) < 6


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_pictures_of_every_mode_become_upright(mode: str) -> None:
    image = Image.new(mode, (32, 16))
    picture = decode(saved(image, "PNG", exif=exif(6)), LIMIT)
    assert picture.size == (16, 32)


def odd_exif(tag: int, type: int, value: bytes) -> bytes:
    """EXIF with orientation 6 and one more tag."""
    entries = [(0x0112, 3, struct.pack("<H2x", 6)), (tag, type, value)]
    body = b"".join(struct.pack("<HHI", t, k, 1) + v for t, k, v in sorted(entries))
    return b"Exif\0\0II*\0\x08\0\0\0\x02\0" + body + bytes(4)


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        (b"Exif\0\0", (48, 32)),
        (b"Exif\0\0no TIFF at all", (48, 32)),
        (b"Exif\0\0II*\0\x08\0\0\0\xff\xff", (48, 32)),
        (exif(99).tobytes(), (48, 32)),
        (odd_exif(0x010F, 11, b"text"), (32, 48)),
        (odd_exif(0x0128, 2, b"text"), (32, 48)),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated", "ignore:Tag data")
@pytest.mark.parametrize("format", ["jpeg", "png", "webp"])
def test_invalid_exif_is_ignored(format: str, tags: bytes, size: tuple[int, int]) -> None:
    content = saved(Image.fromarray(SHADES), format, exif=tags)
    assert decode(content, LIMIT).size == size


@pytest.mark.parametrize(
    ("mode", "stated", "profile", "meant"),
    [
        ("RGB", (255, 0, 0), SWAPPED, (0, 255, 0)),
        ("RGB", (55, 55, 55), LINEAR, (128, 128, 128)),
        ("RGBA", (55, 55, 55, 200), LINEAR, (128, 128, 128)),
        ("P", (55, 55, 55), LINEAR, (128, 128, 128)),
        ("L", 55, LINEAR_GREY, (128, 128, 128)),
        ("LA", (55, 200), LINEAR_GREY, (128, 128, 128)),
        ("I;16", 55 * 257, LINEAR_GREY, (128, 128, 128)),
    ],
)
def test_colours_are_converted_from_their_profile_to_srgb(
    mode: str, stated: object, profile: bytes, meant: tuple[int, ...]
) -> None:
    image = Image.new(mode, (16, 16), stated)  # type: ignore[arg-type]
    picture = decode(saved(image, "PNG", icc_profile=profile), LIMIT)
    assert np.abs(picture.rgb.astype(int) - meant).max() <= 1


@pytest.mark.parametrize(
    ("profile", "meant"), [(None, (0, 255, 255)), (red_for_cyan(), (255, 0, 0))]
)
def test_cmyk_is_converted_by_its_profile(profile: bytes | None, meant: tuple[int, ...]) -> None:
    image = halves("CMYK", (0, 0, 0, 0), (255, 0, 0, 0))
    picture = decode(saved(image, "JPEG", icc_profile=profile, quality=100), LIMIT)
    assert np.abs(picture.rgb[:, 0].astype(int) - 255).max() <= 3
    assert np.abs(picture.rgb[:, -1].astype(int) - meant).max() <= 10


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        SWAPPED[:200],
        LINEAR_GREY,
        red_for_cyan(),
        b"\0" * 300,
        LINEAR.replace(b"rTRC", b"D2B0"),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_a_profile_that_is_broken_or_for_another_colour_space_is_ignored(
    format: Format, profile: bytes
) -> None:
    image = Image.fromarray(SHADES)
    expected = decode(saved(image, format), LIMIT).rgb
    assert np.array_equal(decode(saved(image, format, icc_profile=profile), LIMIT).rgb, expected)


@pytest.mark.parametrize("format", DESCRIBED)
def test_the_largest_profile_is_applied_and_a_larger_one_is_refused(
    format: Format,
) -> None:
    image = Image.new("RGB", (16, 16), (55, 55, 55))
    largest = saved(image, format, icc_profile=LINEAR.ljust(MAX_PROFILE, b"\0"))
    assert np.abs(decode(largest, LIMIT).rgb.astype(int) - 128).max() <= 3
    larger = saved(image, format, icc_profile=LINEAR.ljust(MAX_PROFILE + 1, b"\0"))
    for read in (read_header, decode):
        with pytest.raises(ImageTooLarge, match=f"{format} .* profile of more than 4,194,304"):
            read(larger, LIMIT)


@pytest.mark.parametrize(
    ("mode", "format", "profile"),
    [
        ("CMYK", "JPEG", None),
        ("CMYK", "JPEG", red_for_cyan()),
        ("RGB", "JPEG", grey_by_table()),
        ("RGB", "PNG", grey_by_table()),
        ("RGB", "WEBP", grey_by_table()),
        ("RGBA", "PNG", grey_by_table()),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_colours_that_are_slow_to_convert_are_shrunk_first(
    mode: str, format: str, profile: bytes | None, orientation: int
) -> None:
    image = Image.fromarray(SHADES).resize((400, 260), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(SHADES[..., 0] // 2).resize(image.size))
        image.paste((255, 0, 0, 0), (0, 0, 100, 100))
    else:
        image = image.convert(mode)
    content = saved(
        image, format, icc_profile=profile, exif=exif(orientation), quality=95, lossless=True
    )
    whole, within = decode(content, LIMIT), (60, 39) if orientation == 1 else (39, 60)
    small = read_pixels(read_header(content, LIMIT), within)
    assert small.rgb.shape == (*within[::-1], 3)
    assert small.size == whole.size
    assert (small.alpha is None) == (mode != "RGBA")
    assert small.alpha is None or np.array_equal(small.alpha, whole.alpha)  # type: ignore[arg-type]
    assert difference(small.rgb, resize(whole.rgb, within)) < 2
    larger = read_pixels(read_header(content, LIMIT), (600, 390))
    assert np.array_equal(larger.rgb, whole.rgb)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_decoded_at_the_size_that_is_needed(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.fromarray(SHADES).resize((800, 600), Image.Resampling.BICUBIC).convert(mode)
    still = read_header(saved(photo, "jpeg", quality=95), LIMIT)
    sizes: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def record(image: JpegImageFile) -> object:
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", record)
    small = read_pixels(still, (300, 225))
    assert sizes[0] == (400, 300)
    assert (small.rgb.shape, small.size) == ((225, 300, 3), (800, 600))
    assert difference(small.rgb, resize(read_pixels(still).rgb, (300, 225))) < 1


@pytest.mark.parametrize("profile", [None, SWAPPED])
@pytest.mark.parametrize("format", [format for format in FORMATS if format != "jpeg"])
def test_other_colours_are_converted_at_the_full_size(
    format: Format, profile: bytes | None
) -> None:
    content = saved(Image.fromarray(SHADES), format, icc_profile=profile)
    picture = read_pixels(read_header(content, LIMIT), (24, 16))
    assert np.array_equal(picture.rgb, decode(content, LIMIT).rgb)


def palette(**options: object) -> bytes:
    image = halves("P", 0, 1)
    image.putpalette([200, 0, 0, 0, 0, 100])
    return saved(image, "PNG", **options)


RED, BLUE, INK = (200, 0, 0), (0, 0, 100), (10, 20, 30)


@pytest.mark.parametrize(
    ("content", "left", "right", "alpha"),
    [
        (saved(halves("1", 0, 1), "PNG"), (0, 0, 0), (255, 255, 255), None),
        (saved(halves("L", 10, 201), "PNG"), (10, 10, 10), (201, 201, 201), None),
        (saved(halves("LA", (10, 99), (201, 255)), "PNG"), (10,) * 3, (201,) * 3, (99, 255)),
        (saved(halves("RGB", RED, INK), "PNG"), RED, INK, None),
        (saved(halves("RGBA", (*RED, 1), (*INK, 99)), "PNG"), RED, INK, (1, 99)),
        (saved(halves("RGBA", (*RED, 255), (*INK, 255)), "PNG"), RED, INK, None),
        (palette(), RED, BLUE, None),
        (palette(transparency=b"\x07\xff"), RED, BLUE, (7, 255)),
        # The transparent colour is replaced by the mean of the visible ones.
        (palette(transparency=0), BLUE, BLUE, (0, 255)),
        (saved(halves("RGB", RED, INK), "PNG", transparency=RED), INK, INK, (0, 255)),
        (saved(halves("L", 10, 201), "PNG", transparency=10), (201,) * 3, (201,) * 3, (0, 255)),
        (saved(halves("1", 0, 1), "PNG", transparency=1), (0, 0, 0), (0, 0, 0), (255, 0)),
    ],
)
def test_pixels_of_every_mode_are_read(
    content: bytes,
    left: tuple[int, ...],
    right: tuple[int, ...],
    alpha: tuple[int, int] | None,
) -> None:
    picture = decode(content, LIMIT)
    assert picture.rgb.shape == (16, 32, 3)
    assert (picture.rgb[:, :16] == left).all()
    assert (picture.rgb[:, 16:] == right).all()
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert (picture.alpha == np.repeat(alpha, 16)).all()


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    tones = np.linspace(0, 65535, 32 * 16).round().astype(np.uint16).reshape(16, 32)
    tones[0, :5] = 0, 128, 129, 32896, 65535
    content = saved(Image.fromarray(tones), "PNG")
    assert opened(content).mode == "I;16"
    picture = decode(content, LIMIT)
    assert picture.rgb[0, :5, 0].tolist() == [0, 0, 1, 128, 255]
    assert np.array_equal(picture.rgb[..., 1], np.round(tones / 257))
    assert (picture.rgb == picture.rgb[..., :1]).all()
    assert picture.alpha is None


def test_a_transparent_16_bit_grey_is_compared_in_16_bits() -> None:
    tones = np.full((16, 32), 30_000, np.uint16)
    tones[:, 16:] = 30_001  # the same in 8 bits
    picture = decode(saved(Image.fromarray(tones), "PNG", transparency=30_000), LIMIT)
    assert picture.alpha is not None
    assert (picture.alpha == np.repeat((0, 255), 16)).all()
    assert (picture.rgb == 117).all()


def hidden_red() -> Picture:
    """As a client sends it: transparent red on the left, green on the right."""
    rgb = np.asarray(halves("RGB", (255, 0, 0), (0, 180, 0)))
    alpha = np.asarray(halves("L", 0, 255))
    return Picture(rgb, alpha)


def test_the_network_does_not_see_transparent_colours() -> None:
    sent = hidden_red()
    rgba = Image.fromarray(np.dstack([sent.rgb, sent.alpha]))  # type: ignore[list-item]
    for format in ("PNG", "WEBP"):
        picture = decode(saved(rgba, format, lossless=True, exact=True), LIMIT)
        assert (picture.rgb == (0, 180, 0)).all()
        assert np.array_equal(picture.alpha, sent.alpha)  # type: ignore[arg-type]


def test_a_fully_transparent_picture_is_read_as_white() -> None:
    picture = decode(saved(Image.new("RGBA", (16, 16), (255, 0, 0, 0)), "PNG"), LIMIT)
    assert (picture.rgb == 255).all()
    assert picture.alpha is not None
    assert not picture.alpha.any()


@pytest.mark.parametrize("format", ["png", "webp"])
def test_the_answer_does_not_expose_transparent_colours(format: Format) -> None:
    out = np.asarray(opened(encode(hidden_red(), format, 95)))
    assert (out[..., 3] == hidden_red().alpha).all()
    assert out[:, :16, 0].max() < 20
    assert not np.asarray(to_pillow(hidden_red()))[:, :16].any()


def test_jpeg_shows_alpha_on_white() -> None:
    black = np.zeros((16, 32, 3), np.uint8)
    alpha = np.asarray(halves("L", 0, 128))
    out = decode(encode(Picture(black, alpha), "jpeg", 95), LIMIT)
    assert out.alpha is None
    assert np.abs(out.rgb[:, 0].astype(int) - 255).max() <= 3
    assert np.abs(out.rgb[:, -1].astype(int) - 127).max() <= 3


@pytest.mark.parametrize("sent", FORMATS)
@pytest.mark.parametrize("answer", FORMATS)
def test_the_answer_has_no_metadata(sent: Format, answer: Format) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret")
    tags = Image.Exif()
    tags[0x013B] = "secret"  # the artist
    content = saved(
        Image.fromarray(SHADES),
        sent,
        exif=tags,
        icc_profile=LINEAR + b"secret",
        xmp=b"secret",
        comment=b"secret",
        pnginfo=text,
    )
    assert b"secret" in content
    out = encode(decode(content, LIMIT), answer)
    assert b"secret" not in out
    image = opened(out)
    assert not image.getexif()
    assert not {"exif", "icc_profile", "xmp", "comment", "Comment"} & set(image.info)


@pytest.mark.parametrize(
    ("width", "height", "error", "says"),
    [
        (30_000, 30_000, ImageTooLarge, "pixels"),
        (
            1000,
            1001,
            ImageTooLarge,
            "1000x1001 pixels, 1,001,000 in all; "
            r"at most 1,000,000 are allowed \(PASTICHE_MAX_PIXELS\)",
        ),
        (1, 1_000_001, ImageTooLarge, "1x1000001"),
        (0, 16, BrokenImage, "0x16 pixels, none"),
        (16, 0, BrokenImage, "16x0 pixels, none"),
    ],
)
def test_dimensions_are_checked_before_anything_is_decoded(
    width: int, height: int, error: type[PasticheError], says: str
) -> None:
    for read in (read_header, decode):
        with pytest.raises(error, match=says):
            read(png_header(width, height), LIMIT)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 1_000_000), (1000, 1000)])
def test_dimensions_at_the_limits_are_accepted(width: int, height: int) -> None:
    header = read_header(png_header(width, height), LIMIT)
    assert (header.format, header.width, header.height) == ("png", width, height)
    assert header.pixels == width * height
    with pytest.raises(BrokenImage, match="png"):  # it has no pixels
        decode(png_header(width, height), LIMIT)


WHOLE = {
    "jpeg": saved(Image.fromarray(SHADES), "JPEG", exif=exif(6), icc_profile=LINEAR),
    "progressive": saved(Image.fromarray(SHADES).convert("CMYK"), "JPEG", progressive=True),
    "mpo": saved(
        Image.fromarray(SHADES), "MPO", save_all=True, append_images=[Image.fromarray(SHADES)]
    ),
    "png": saved(Image.fromarray(SHADES), "PNG", exif=exif(6), icc_profile=LINEAR),
    "palette": saved(Image.fromarray(SHADES).convert("P"), "PNG", transparency=3),
    "webp": saved(Image.fromarray(SHADES), "WEBP", exif=exif(6), icc_profile=LINEAR),
    "lossless": saved(Image.fromarray(SHADES).convert("RGBA"), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_file_is_decoded_or_refused(kind: str) -> None:
    whole, rng = WHOLE[kind], random.Random(kind)
    refused = 0
    for attempt in range(80):
        content = bytearray(whole)
        if attempt % 2:
            del content[rng.randrange(len(whole)) :]
        else:
            # Half of the changes are near the start, in the header.
            end = 400 if attempt % 4 else len(whole)
            for _ in range(rng.randint(1, 6)):
                content[rng.randrange(min(end, len(whole)))] = rng.randrange(256)
        try:
            picture = decode(bytes(content), LIMIT)
        except (BrokenImage, UnsupportedImage, ImageTooLarge):
            refused += 1
        else:
            assert picture.rgb.shape == (*picture.size[::-1], 3)
    assert refused > 10


@pytest.mark.parametrize("kind", set(WHOLE) - {"mpo"})
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_broken(kind: str, part: float) -> None:
    content = WHOLE[kind][: int(len(WHOLE[kind]) * part)]
    with pytest.raises(BrokenImage):
        decode(content, LIMIT)


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_text_chunk_that_decompresses_to_megabytes_is_skipped(before: bytes) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(5_000_000)))
    at = WHOLE["png"].index(before) - 4
    picture = decode(WHOLE["png"][:at] + bomb + WHOLE["png"][at:], LIMIT)
    assert np.array_equal(picture.rgb, decode(WHOLE["png"], LIMIT).rgb)


def test_pillows_limit_on_pixels_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for format in ("JPEG", "PNG"):
        assert decode(saved(Image.fromarray(SHADES), format), LIMIT).size == (48, 32)
    with pytest.raises(ImageTooLarge):  # except in its WebP reader, which always checks
        decode(saved(Image.fromarray(SHADES), "WEBP"), LIMIT)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "MPO"])
def test_of_several_pictures_the_first_is_read(format: str) -> None:
    pictures = [Image.new("RGB", (32, 24), colour) for colour in ((200, 9, 9), (9, 9, 200))]
    content = saved(pictures[0], format, save_all=True, append_images=pictures[1:])
    picture = decode(content, LIMIT)
    assert picture.size == (32, 24)
    assert np.abs(picture.rgb.astype(int) - (200, 9, 9)).max() < 12


@pytest.mark.parametrize(
    ("format", "longest"), [("jpeg", 65_500), ("webp", 16_383), ("avif", 32_768), ("gif", 65_535)]
)
def test_a_format_that_cannot_hold_a_picture_of_this_size_is_refused(
    format: Format, longest: int
) -> None:
    longest_picture = Picture(np.zeros((1, longest, 3), np.uint8))
    assert opened(encode(longest_picture, format)).size == (longest, 1)
    with pytest.raises(BadOption, match=rf"{format} allows at most {longest:,} pixels"):
        check_format(format, 1, longest + 1)
    check_format(format, 1, longest)
    check_format("png", 1, 1_000_000)


@pytest.mark.parametrize("size", [(48, 32), (20, 17), (96, 65), (16, 200)])
def test_resizing_gives_the_requested_size_and_keeps_a_flat_colour(size: tuple[int, int]) -> None:
    resized = resize(np.full((32, 48, 3), (9, 99, 199), np.uint8), size)
    assert resized.shape == (size[1], size[0], 3)
    assert resized.dtype == np.uint8
    assert (resized == (9, 99, 199)).all()


def test_resizing_to_the_same_size_changes_nothing() -> None:
    assert np.array_equal(resize(SHADES, (48, 32)), SHADES)


def test_an_enlarged_edge_has_one_low_halo() -> None:
    edge = np.full((16, 32, 3), 200, np.uint8)
    edge[:, 16:] = 50
    large = resize(edge, (128, 64))[32, :, 0].astype(int)
    assert 200 < large.max() < 215
    assert (large[:56] == 200).all()  # two pixels of the edge away


@pytest.mark.parametrize(
    "mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB", "PA", "RGBa"]
)
def test_pillow_images_of_any_mode_are_accepted(mode: str) -> None:
    picture = from_pillow(Image.new(mode, (20, 16)))
    assert (picture.size, picture.rgb.shape) == ((20, 16), (16, 20, 3))
    assert picture.rgb.dtype == np.uint8
