"""Files made to cost time or memory: refused or decoded, they must not; CPU time, not the clock."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.errors import BrokenImage, ImageTooLarge, PasticheError, UnsupportedImage
from app.pixels.container import (
    FEW_SCANS,
    MAX_CHUNKS,
    MAX_LOSSY,
    MAX_PROFILE,
    MAX_PROGRESSIVE,
    walk,
)
from app.pixels.images import Picture, decode
from tests.unit.app.pixels.test_images import SHADES, chunk, exif, png_header, saved

CAP = 25_000_000  # pixels, the default
REFUSED, ACCEPTED = 0.25, 1.0  # seconds of CPU that a file may cost
TRIES = 5
SMALL = Image.fromarray(SHADES)


def decode_within(seconds: float, content: bytes) -> Picture:
    """Decode, or raise why not, for so much CPU; what else runs only adds, so the least counts."""
    for _ in range(TRIES):
        began = time.thread_time()
        try:
            outcome: Picture | PasticheError = decode(content, CAP)
        except PasticheError as error:
            outcome = error
        if time.thread_time() - began < seconds:
            break
    else:
        pytest.fail(f"{TRIES} times more than {seconds} s of CPU")
    if isinstance(outcome, PasticheError):
        raise outcome
    return outcome


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def after_start(jpeg: bytes, more: bytes) -> bytes:
    return jpeg[:2] + more + jpeg[2:]


def with_chunks(png: bytes, more: bytes, before: bytes = b"IDAT") -> bytes:
    at = png.index(before) - 4
    return png[:at] + more + png[at:]


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG of one grey with its last scan, of a few bytes, again and again."""
    jpeg = saved(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    at = jpeg.rindex(b"\xff\xda")
    own = jpeg.count(b"\xff\xda")
    return jpeg[:at] + jpeg[at:-2] * (count - own + 1) + jpeg[-2:]


JPEG, PNG, WEBP = (saved(SMALL, format) for format in ("JPEG", "PNG", "WEBP"))
IHDR = PNG[8:33]


REFUSED_FILES = [
    (scans(4000, 1000), "more than 25 scans"),
    (scans(16, 101), "more than 100 scans"),
    (after_start(JPEG, segment(0xFE, b"") * MAX_CHUNKS), "segments"),
    (after_start(JPEG, segment(0xDB, bytes(65 * 1000)) * 20), "bytes of tables"),
    (after_start(JPEG, segment(0xC4, bytes(60_000)) * 20), "bytes of tables"),
    (after_start(JPEG, b"\xff" * 2_000_000)[:-2], "has no end"),
    (after_start(JPEG, JPEG[JPEG.index(b"\xff\xc0") :][:19]), "more than one frame"),
    (after_start(JPEG, JPEG), "begins twice"),
    (JPEG[:2] + JPEG[JPEG.index(b"\xff\xda") :], "before its frame"),
    (JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9", "no pixels"),
    (with_chunks(PNG, chunk(b"tEXt", b"a\0b") * MAX_CHUNKS), "chunks"),
    (with_chunks(PNG, chunk(b"IDAT", b"") * MAX_CHUNKS), "chunks"),
    (with_chunks(PNG, struct.pack(">I", 2**31 - 1) + b"tEXt"), "cut off"),
    (PNG.replace(IHDR, chunk(b"tEXt", b"a\0b") + IHDR), "begin with its header"),
    (PNG.replace(b"IDAT", b"IDAX"), "no pixels"),
    (PNG[:-12], "cut off: it has no end"),
    (PNG[:-20] + bytes([PNG[-20] ^ 1]) + PNG[-19:], "checksum"),
    (WEBP[:-1], "cut off"),
    (WEBP[:16] + b"\xff\xff\xff\x00" + WEBP[20:], "cut off within a chunk"),
    (WEBP[:12] + b"none" + WEBP[16:], "no pixels"),
    (WEBP.replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"), "header is damaged"),
]


@pytest.mark.parametrize(("content", "says"), REFUSED_FILES)
def test_a_file_that_no_camera_writes_is_refused_before_it_costs(content: bytes, says: str) -> None:
    with pytest.raises(BrokenImage, match=says):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_a_kind_of_jpeg_that_browsers_do_not_show_is_not_supported(marker: int) -> None:
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(UnsupportedImage, match="lossless, hierarchical or arithmetic"):
        decode(JPEG[: at + 1] + bytes([marker]) + JPEG[at + 2 :], CAP)


def test_a_jpeg_of_12_bits_is_not_supported() -> None:
    at = JPEG.index(b"\xff\xc0")
    content = JPEG[: at + 1] + b"\xc1" + JPEG[at + 2 : at + 4] + b"\x0c" + JPEG[at + 5 :]
    with pytest.raises(UnsupportedImage, match="12 bits per channel; only 8 are supported"):
        decode(content, CAP)


def test_a_jpeg_ls_is_not_supported() -> None:
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(UnsupportedImage, match="JPEG-LS"):
        decode(JPEG[: at + 1] + b"\xf7" + JPEG[at + 2 :], CAP)


def test_a_webp_of_two_sizes_is_broken() -> None:
    content = bytearray(saved(SMALL, "WEBP", exif=exif(1)))
    content[24:27] = (4999).to_bytes(3, "little")
    with pytest.raises(BrokenImage, match="size that its header states"):
        decode_within(REFUSED, bytes(content))


def test_a_lossy_webp_of_too_many_bytes_is_refused_with_what_is_allowed() -> None:
    def webp(length: int) -> bytes:
        pixels = WEBP[20:].ljust(length, b"\0")
        return struct.pack("<4sI8sI", b"RIFF", 12 + length, b"WEBPVP8 ", length) + pixels

    assert decode(webp(MAX_LOSSY), CAP).size == SMALL.size
    with pytest.raises(ImageTooLarge, match="at most 8,388,608 are allowed"):
        decode_within(REFUSED, webp(MAX_LOSSY + 2))


def test_a_progressive_jpeg_of_too_many_bytes_is_refused_with_what_is_allowed() -> None:
    def jpeg(length: int, progressive: bool) -> bytes:
        content = saved(SMALL, "JPEG", progressive=progressive)
        first_scan = content.index(b"\xff\xda")
        return content[:-2].ljust(first_scan + length - 2, b"\0") + content[-2:]

    assert decode(jpeg(MAX_PROGRESSIVE, progressive=True), CAP).size == SMALL.size
    with pytest.raises(ImageTooLarge, match="at most 12,582,912 are allowed"):
        decode_within(REFUSED, jpeg(MAX_PROGRESSIVE + 1, progressive=True))
    assert decode(jpeg(MAX_PROGRESSIVE + 1, progressive=False), CAP).size == SMALL.size


def icc(count: int) -> bytes:
    return b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([i % 255 + 1, 255]) + bytes(65_000))
        for i in range(count)
    )


ACCEPTED_FILES = [
    after_start(JPEG, segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 300),
    after_start(JPEG, icc(MAX_PROFILE // 65_000)),
    after_start(JPEG, b"\xff" * 2_000_000),
    JPEG[:20] + bytes(2_000_000) + JPEG[20:],  # behind the first segment
    after_start(JPEG, segment(0xFE, b"") * (MAX_CHUNKS - 100)),
    JPEG[:-2] + b"\xff\xd0" * 2_000_000 + JPEG[-2:],
    with_chunks(PNG, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 1000),
    with_chunks(PNG, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(900_000))) * 1000),
    with_chunks(PNG, chunk(b"IDAT", b"") * (MAX_CHUNKS - 100)),
    with_chunks(PNG, chunk(b"IDAT", bytes(999)) * 9999, before=b"IEND"),
    with_chunks(PNG, chunk(b"sPLT", bytes(10_000_000))),
    with_chunks(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MAX_PROFILE)))),
]


@pytest.mark.parametrize(
    "content",
    [
        after_start(JPEG, icc(300)),
        with_chunks(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(60_000_000)))),
    ],
)
def test_a_colour_profile_of_too_many_bytes_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="profile of more than 4,194,304 bytes"):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("content", ACCEPTED_FILES)
def test_what_stands_beside_the_pixels_costs_nothing(content: bytes) -> None:
    assert decode_within(ACCEPTED, content).size == (48, 32)


def test_pixels_that_inflate_without_end_are_taken_only_as_far_as_they_are_needed() -> None:
    bomb = zlib.compress(bytes(60_000_000))
    content = png_header(48, 32).replace(chunk(b"IDAT", b""), chunk(b"IDAT", bomb))
    assert not decode_within(ACCEPTED, content).rgb.any()


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_that_repeats_itself_is_not_unfolded(order: str) -> None:
    # 60,000 entries that each claim the same megabyte.
    entries = b"".join(
        struct.pack(order + "HHII", 0x200 + tag, 7, 1_000_000, 8) for tag in range(60_000)
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    tiff = start + struct.pack(order + "IH", 8, 60_000) + entries + bytes(1_000_000)
    content = with_chunks(PNG, chunk(b"eXIf", tiff))
    assert decode_within(ACCEPTED, content).size == (48, 32)
    tracemalloc.start()  # afterwards: it costs more than what it watches
    decode(content, CAP)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_decoder_sees_nothing_but_pixels_and_colours(format: str) -> None:
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
        ((5000, 5000), scans(16, FEW_SCANS)),
    ],
)
def test_a_jpeg_of_a_forged_size_costs_no_more_than_a_sound_one(
    claimed: tuple[int, int], content: bytes
) -> None:
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    forged = content[: at + 5] + struct.pack(">HH", *claimed[::-1]) + content[at + 9 :]
    assert decode_within(ACCEPTED, forged).size == claimed


@pytest.mark.parametrize("content", [png_header(5000, 5000), png_header(30_000, 30_000)])
def test_a_png_of_a_forged_size_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(PasticheError):
        decode_within(REFUSED, content)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_largest_picture_is_decoded_within_a_second(format: str, mode: str) -> None:
    y, x = np.ogrid[:5000, :5000]
    slope = np.broadcast_to((x + y) // 40, (5000, 5000)).astype(np.uint8)
    image = Image.merge(mode, [Image.fromarray(slope)] * len(mode))
    options = {"JPEG": {}, "PNG": {"compress_level": 1}, "WEBP": {"method": 0}}[format]
    content = saved(image.convert("RGB") if format == "JPEG" else image, format, **options)
    assert decode_within(ACCEPTED, content).size == (5000, 5000)
