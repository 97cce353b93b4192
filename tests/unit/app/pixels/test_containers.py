"""Hostile files cost little, measured in CPU time, whether they are refused or decoded."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.errors import BrokenImage, ImageTooLarge, PasticheError, UnsupportedImage
from app.pixels.containers import walk
from app.pixels.containers.jpeg import MAX_PROGRESSIVE, MAX_SCANS_OF_LARGE
from app.pixels.containers.webp import MAX_LOSSY
from app.pixels.images import Picture, decode
from tests.tools.hostile_images import (
    ACCEPTED_FILES,
    AVIF,
    BMP,
    CAP,
    GIF,
    HEIC,
    JPEG,
    PNG,
    REFUSED_FILES,
    SMALL,
    WEBP,
    after_start,
    icc,
    scans,
    with_chunks,
    with_number,
)
from tests.tools.image_files import chunk, exif, png_header, saved, tiff

REFUSED, ACCEPTED = 0.25, 1.0  # seconds of CPU that a file may cost
TRIES = 5


def decode_within(seconds: float, content: bytes) -> Picture:
    """Decode, or raise the error, and fail if every try takes more CPU time than this."""
    for _ in range(TRIES):
        began = time.thread_time()
        try:
            outcome: Picture | PasticheError = decode(content, CAP)
        except PasticheError as error:
            outcome = error
        if time.thread_time() - began < seconds:
            break
    else:
        pytest.fail(f"{TRIES} tries took more than {seconds} s of CPU time each")
    if isinstance(outcome, PasticheError):
        raise outcome
    return outcome


@pytest.mark.parametrize(("content", "says"), REFUSED_FILES)
def test_a_hostile_file_is_refused_cheaply(content: bytes, says: str) -> None:
    with pytest.raises(BrokenImage, match=says):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_a_jpeg_coding_that_browsers_do_not_show_is_not_supported(marker: int) -> None:
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(UnsupportedImage, match="lossless, hierarchical or arithmetic"):
        decode(JPEG[: at + 1] + bytes([marker]) + JPEG[at + 2 :], CAP)


def test_a_12_bit_jpeg_is_not_supported() -> None:
    at = JPEG.index(b"\xff\xc0")
    content = JPEG[: at + 1] + b"\xc1" + JPEG[at + 2 : at + 4] + b"\x0c" + JPEG[at + 5 :]
    with pytest.raises(UnsupportedImage, match="12 bits per channel; only 8 are supported"):
        decode(content, CAP)


def test_a_jpeg_ls_is_not_supported() -> None:
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(UnsupportedImage, match="JPEG-LS"):
        decode(JPEG[: at + 1] + b"\xf7" + JPEG[at + 2 :], CAP)


def test_a_webp_that_states_two_sizes_is_broken() -> None:
    content = bytearray(saved(SMALL, "WEBP", exif=exif(1)))
    content[24:27] = (4999).to_bytes(3, "little")
    with pytest.raises(BrokenImage, match="size that its header states"):
        decode_within(REFUSED, bytes(content))


def test_a_lossy_webp_with_too_many_bytes_is_refused() -> None:
    def webp(length: int) -> bytes:
        pixels = WEBP[20:].ljust(length, b"\0")
        return struct.pack("<4sI8sI", b"RIFF", 12 + length, b"WEBPVP8 ", length) + pixels

    assert decode(webp(MAX_LOSSY), CAP).size == SMALL.size
    with pytest.raises(ImageTooLarge, match="at most 8,388,608 are allowed"):
        decode_within(REFUSED, webp(MAX_LOSSY + 2))


def test_a_progressive_jpeg_with_too_many_bytes_is_refused() -> None:
    def jpeg(length: int, progressive: bool) -> bytes:
        content = saved(SMALL, "JPEG", progressive=progressive)
        first_scan = content.index(b"\xff\xda")
        return content[:-2].ljust(first_scan + length - 2, b"\0") + content[-2:]

    assert decode(jpeg(MAX_PROGRESSIVE, progressive=True), CAP).size == SMALL.size
    with pytest.raises(ImageTooLarge, match="at most 12,582,912 are allowed"):
        decode_within(REFUSED, jpeg(MAX_PROGRESSIVE + 1, progressive=True))
    assert decode(jpeg(MAX_PROGRESSIVE + 1, progressive=False), CAP).size == SMALL.size


@pytest.mark.parametrize(
    "content",
    [
        after_start(JPEG, icc(300)),
        with_chunks(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(60_000_000)))),
    ],
)
def test_a_colour_profile_with_too_many_bytes_is_refused_cheaply(content: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="profile of more than 4,194,304 bytes"):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("content", ACCEPTED_FILES)
def test_data_other_than_pixels_costs_little(content: bytes) -> None:
    assert decode_within(ACCEPTED, content).size == (48, 32)


def test_surplus_compressed_pixels_are_not_decompressed() -> None:
    bomb = zlib.compress(bytes(60_000_000))
    content = png_header(48, 32).replace(chunk(b"IDAT", b""), chunk(b"IDAT", bomb))
    assert not decode_within(ACCEPTED, content).rgb.any()


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_that_refers_to_the_same_bytes_again_and_again_costs_little(order: str) -> None:
    # 60,000 entries that refer to the same megabyte.
    entries = b"".join(
        struct.pack(order + "HHII", 0x200 + tag, 7, 1_000_000, 8) for tag in range(60_000)
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = start + struct.pack(order + "IH", 8, 60_000) + entries + bytes(1_000_000)
    content = with_chunks(PNG, chunk(b"eXIf", tiff))
    assert decode_within(ACCEPTED, content).size == (48, 32)
    tracemalloc.start()  # only now: tracing is slower than what it traces
    decode(content, CAP)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_decoders_see_only_pixels_and_colours(format: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret")
    tags = exif(6)
    tags[0x013B] = "secret"
    content = saved(
        SMALL, format, exif=tags, xmp=b"secret", comment=b"secret", pnginfo=text, icc_profile=b"i"
    )
    still = walk(content + b"secret")
    assert still.orientation == 6
    assert b"secret" not in still.content
    assert len(still.content) < len(content)
    assert walk(still.content).content == still.content


@pytest.mark.parametrize(
    ("claimed", "content"),
    [
        ((5000, 5000), JPEG),
        ((65_500, 380), JPEG),
        ((4096, 4096), scans(16, 23)),
        ((5000, 5000), scans(16, MAX_SCANS_OF_LARGE)),
    ],
)
def test_a_jpeg_of_a_forged_size_costs_no_more_than_an_honest_one(
    claimed: tuple[int, int], content: bytes
) -> None:
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    forged = content[: at + 5] + struct.pack(">HH", *claimed[::-1]) + content[at + 9 :]
    assert decode_within(ACCEPTED, forged).size == claimed


@pytest.mark.parametrize(
    "content",
    [
        png_header(5000, 5000),
        png_header(30_000, 30_000),
        GIF[:6] + struct.pack("<HH", 65_535, 65_535) + GIF[10:],
        with_number(AVIF, b"ispe", 4, 2**31),
        with_number(HEIC, b"ispe", 8, 2**31),
        BMP[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + BMP[26:],
        tiff({256: 2**31, 257: 2**31, 273: 8, 279: 8}),
    ],
)
def test_a_file_of_a_forged_size_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(PasticheError):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_largest_picture_is_decoded_within_a_second(format: str, mode: str) -> None:
    y, x = np.ogrid[:5000, :5000]
    gradient = np.broadcast_to((x + y) // 40, (5000, 5000)).astype(np.uint8)
    image = Image.merge(mode, [Image.fromarray(gradient)] * len(mode))
    fast: dict[str, dict[str, object]] = {
        "PNG": {"compress_level": 1},
        "WEBP": {"method": 0},
        "AVIF": {"speed": 10},
        "TIFF": {"compression": "tiff_lzw"},
    }
    options = fast.get(format, {})
    content = saved(image.convert("RGB") if format == "JPEG" else image, format, **options)
    assert decode_within(ACCEPTED, content).size == (5000, 5000)
