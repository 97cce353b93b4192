"""Image files made to cost the server time or memory."""

import struct
import zlib

from PIL import Image

from app.pixels.container import MAX_CHUNKS, MAX_PROFILE
from tests.tools.image_files import SHADES, chunk, saved

CAP = 25_000_000  # pixels, the default of PASTICHE_MAX_PIXELS
SMALL = Image.fromarray(SHADES)


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def after_start(jpeg: bytes, more: bytes) -> bytes:
    """Insert bytes after the start marker."""
    return jpeg[:2] + more + jpeg[2:]


def with_chunks(png: bytes, more: bytes, before: bytes = b"IDAT") -> bytes:
    """Insert bytes before a chunk."""
    at = png.index(before) - 4
    return png[:at] + more + png[at:]


def scans(side: int, count: int) -> bytes:
    """A progressive grey JPEG that repeats its last scan of a few bytes."""
    jpeg = saved(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    at = jpeg.rindex(b"\xff\xda")
    written = jpeg.count(b"\xff\xda")
    return jpeg[:at] + jpeg[at:-2] * (count - written + 1) + jpeg[-2:]


JPEG, PNG, WEBP = (saved(SMALL, format) for format in ("JPEG", "PNG", "WEBP"))
IHDR = PNG[8:33]


def icc(count: int) -> bytes:
    """Segments of an ICC profile, 65,000 bytes each."""
    return b"".join(
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([i % 255 + 1, 255]) + bytes(65_000))
        for i in range(count)
    )


# Each with part of its error message.
REFUSED_FILES = [
    (scans(4000, 1000), "more than 25 scans"),
    (scans(16, 101), "more than 100 scans"),
    (after_start(JPEG, jpeg_segment(0xFE, b"") * MAX_CHUNKS), "segments"),
    (after_start(JPEG, jpeg_segment(0xDB, bytes(65 * 1000)) * 20), "bytes of tables"),
    (after_start(JPEG, jpeg_segment(0xC4, bytes(60_000)) * 20), "bytes of tables"),
    (after_start(JPEG, b"\xff" * 2_000_000)[:-2], "no end marker"),
    (after_start(JPEG, JPEG[JPEG.index(b"\xff\xc0") :][:19]), "more than one frame"),
    (after_start(JPEG, JPEG), "second start marker"),
    (JPEG[:2] + JPEG[JPEG.index(b"\xff\xda") :], "before its frame"),
    (JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9", "no pixels"),
    (with_chunks(PNG, chunk(b"tEXt", b"a\0b") * MAX_CHUNKS), "chunks"),
    (with_chunks(PNG, chunk(b"IDAT", b"") * MAX_CHUNKS), "chunks"),
    (with_chunks(PNG, struct.pack(">I", 2**31 - 1) + b"tEXt"), "truncated"),
    (PNG.replace(IHDR, chunk(b"tEXt", b"a\0b") + IHDR), "start with its header"),
    (PNG.replace(b"IDAT", b"IDAX"), "no pixels"),
    (PNG[:-12], "truncated: it has no end chunk"),
    (PNG[:-20] + bytes([PNG[-20] ^ 1]) + PNG[-19:], "checksum"),
    (WEBP[:-1], "truncated"),
    (WEBP[:16] + b"\xff\xff\xff\x00" + WEBP[20:], "truncated within a chunk"),
    (WEBP[:12] + b"none" + WEBP[16:], "no pixels"),
    (WEBP.replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"), "header is damaged"),
]

ACCEPTED_FILES = [
    after_start(JPEG, jpeg_segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 300),
    after_start(JPEG, icc(MAX_PROFILE // 65_000)),
    after_start(JPEG, b"\xff" * 2_000_000),
    JPEG[:20] + bytes(2_000_000) + JPEG[20:],  # after the first segment
    after_start(JPEG, jpeg_segment(0xFE, b"") * (MAX_CHUNKS - 100)),
    JPEG[:-2] + b"\xff\xd0" * 2_000_000 + JPEG[-2:],
    with_chunks(PNG, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 1000),
    with_chunks(PNG, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(900_000))) * 1000),
    with_chunks(PNG, chunk(b"IDAT", b"") * (MAX_CHUNKS - 100)),
    with_chunks(PNG, chunk(b"IDAT", bytes(999)) * 9999, before=b"IEND"),
    with_chunks(PNG, chunk(b"sPLT", bytes(10_000_000))),
    with_chunks(PNG, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MAX_PROFILE)))),
]
