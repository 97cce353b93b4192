"""Every kind of TIFF that cameras, scanners and editors write."""

import struct

import numpy as np
import pytest
from PIL import Image

from app.errors import ImageTooLarge, UnsupportedImage
from app.pixels.containers import walk
from app.pixels.containers.still import MAX_PROFILE
from app.pixels.images import decode
from tests.tools.image_files import (
    LINEAR,
    LINEAR_GREY,
    SHADES,
    Entries,
    exif,
    red_for_cyan,
    saved,
    tiff,
)

LIMIT = 1_000_000  # pixels
PICTURE = Image.fromarray(SHADES)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_colours_are_read_from_every_compression(mode: str, compression: str | None) -> None:
    image = PICTURE.convert(mode)
    picture = decode(saved(image, "TIFF", compression=compression), LIMIT)
    assert picture.format == "tiff"
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_read(mode: str) -> None:
    image = PICTURE.copy()
    image.putalpha(Image.fromarray(SHADES[..., 0] | 1))
    picture = decode(saved(image.convert(mode), "TIFF"), LIMIT)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, SHADES[..., 0] | 1)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_predictor_and_16_bits_of_grey_are_read(compression: str | None) -> None:
    grey = SHADES[..., 0].astype(np.uint16) * 257
    content = saved(Image.fromarray(grey), "TIFF", compression=compression, tiffinfo={317: 2})
    assert np.array_equal(decode(content, LIMIT).rgb[..., 0], SHADES[..., 0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_both_byte_orders_are_read(order: str, bits: int) -> None:
    samples = SHADES.astype(f"{order}u{bits // 8}") * (257 if bits == 16 else 1)
    data = samples.astype(f"{order}u{bits // 8}").tobytes()
    entries: Entries = {
        256: 48,
        257: 32,
        258: (bits,) * 3,
        262: 2,
        277: 3,
        278: 32,
        273: 0,
        279: len(data),
    }
    entries[273] = len(tiff(entries, order))
    picture = decode(tiff(entries, order, data), LIMIT)
    assert np.array_equal(picture.rgb, SHADES)


def test_strips_and_tiles_anywhere_in_the_file_are_read() -> None:
    strips = [SHADES[row : row + 5].tobytes() for row in range(0, 32, 5)]
    entries: Entries = {256: 48, 257: 32, 258: (8,) * 3, 262: 2, 277: 3, 278: 5}
    lengths = tuple(map(len, strips))
    start = len(tiff({**entries, 273: lengths, 279: lengths}))
    places = [start + sum(lengths[n + 1 :]) for n in range(len(strips))]  # the last one first
    content = tiff({**entries, 273: tuple(places), 279: lengths}, data=b"".join(reversed(strips)))
    assert np.array_equal(decode(content, LIMIT).rgb, SHADES)
    tiles = [SHADES[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16, 32)]
    entries = {256: 48, 257: 32, 258: (8,) * 3, 262: 2, 277: 3, 322: 16, 323: 16}
    lengths = tuple(map(len, tiles))
    start = len(tiff({**entries, 324: lengths, 325: lengths}))
    places = [start + 768 * n for n in range(6)]
    content = tiff({**entries, 324: tuple(places), 325: lengths}, data=b"".join(tiles))
    assert np.array_equal(decode(content, LIMIT).rgb, SHADES)


def test_planes_are_read() -> None:
    planes = SHADES.transpose(2, 0, 1).tobytes()
    entries: Entries = {
        **{256: 48, 257: 32, 258: (8,) * 3, 262: 2, 277: 3, 278: 32, 284: 2},
        **{273: (0,) * 3, 279: (1536,) * 3},
    }
    start = len(tiff(entries))
    entries[273] = (start, start + 1536, start + 3072)
    assert np.array_equal(decode(tiff(entries, data=planes), LIMIT).rgb, SHADES)


@pytest.mark.parametrize(
    ("image", "profile", "meant"),
    [
        (Image.new("RGB", (16, 16), (55, 55, 55)), LINEAR, (128, 128, 128)),
        (Image.new("L", (16, 16), 55), LINEAR_GREY, (128, 128, 128)),
        (Image.new("CMYK", (16, 16), (255, 0, 0, 0)), red_for_cyan(), (255, 0, 0)),
    ],
)
def test_colours_are_converted_from_their_profile(
    image: Image.Image, profile: bytes, meant: tuple[int, ...]
) -> None:
    picture = decode(saved(image, "TIFF", icc_profile=profile), LIMIT)
    assert np.abs(picture.rgb.astype(int) - meant).max() <= 10


def test_a_profile_with_too_many_bytes_is_refused() -> None:
    content = saved(PICTURE, "TIFF", icc_profile=LINEAR.ljust(MAX_PROFILE + 1, b"\0"))
    with pytest.raises(ImageTooLarge, match=r"tiff .* profile of more than"):
        walk(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (saved(PICTURE, "TIFF", big_tiff=True), "BigTIFF"),
        (saved(PICTURE, "TIFF", compression="jpeg"), "compression 7; the allowed ones are none"),
        (saved(PICTURE.convert("1"), "TIFF", compression="group4"), "compression 4"),
        (saved(PICTURE.convert("F"), "TIFF"), "numbers other than whole ones"),
        (saved(PICTURE.convert("LAB"), "TIFF"), "neither grey, RGB, CMYK nor of a palette"),
    ],
)
def test_an_unusual_kind_is_refused_with_its_name(content: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImage, match=says):
        walk(content)


def test_a_decoder_sees_one_directory_without_metadata() -> None:
    tags = exif(6)
    tags[0x013B] = "secret"
    other = Image.new("RGB", (48, 32), "red")
    content = saved(
        PICTURE, "TIFF", exif=tags, save_all=True, append_images=[other], description="secret"
    )
    still = walk(content)
    assert still.orientation == 6
    assert b"secret" in content
    assert b"secret" not in still.content
    (start,) = struct.unpack_from("<I", still.content, 4)
    (count,) = struct.unpack_from("<H", still.content, start)
    assert still.content[start + 2 + 12 * count :][:4] == bytes(4)  # no next directory
    assert walk(still.content).content == still.content
