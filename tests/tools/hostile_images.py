"""Image files made to cost the server time or memory."""

import struct
import zlib

from PIL import Image

from app.pixels.containers.gif import MAX_BLOCKS
from app.pixels.containers.still import MAX_CHUNKS, MAX_PROFILE
from tests.tools.image_files import SHADES, box, chunk, saved, tiff

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
AVIF, HEIC, GIF, BMP = (saved(SMALL, format) for format in ("AVIF", "HEIF", "GIF", "BMP"))
LARGE_HEIC = saved(SMALL.resize((200, 150)), "HEIF")
IHDR = PNG[8:33]


def icc(count: int) -> bytes:
    """Segments of an ICC profile, 65,000 bytes each."""
    return b"".join(
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([i % 255 + 1, 255]) + bytes(65_000))
        for i in range(count)
    )


def with_number(content: bytes, name: bytes, skip: int, number: int, form: str = ">I") -> bytes:
    """Write a number so many bytes after the name of a box, which occurs once."""
    assert content.count(name) == 1
    at = content.index(name) + 4 + skip
    return content[:at] + struct.pack(form, number) + content[at + struct.calcsize(form) :]


def many_boxes(name: bytes, count: int = MAX_CHUNKS + 1) -> bytes:
    """An AVIF whose metadata has many boxes."""
    return box(b"ftyp", b"avif" + bytes(4)) + box(b"meta", bytes(4) + box(name, b"") * count)


def many_references(count: int = 65_535) -> bytes:
    """An AVIF with references of an item to many others."""
    references = box(b"dimg", struct.pack(">HH", 1, count) + bytes(2 * count)) * 200
    meta = box(b"pitm", bytes(4) + b"\0\1") + box(b"iref", bytes(4) + references)
    return box(b"ftyp", b"avif" + bytes(4)) + box(b"meta", bytes(4) + meta)


def many_auxiliaries(count: int = 5000) -> bytes:
    """An AVIF whose items all share a kind of auxiliary picture with a name of 20 MB."""
    items = b"".join(
        box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, b"av01"))
        for number in range(1, count + 1)
    )
    associations = b"".join(struct.pack(">HBB", number, 1, 1) for number in range(1, count + 1))
    references = b"".join(
        box(b"auxl", struct.pack(">HHH", number, 1, 1)) for number in range(2, count + 1)
    )
    meta = [
        box(b"pitm", bytes(4) + b"\0\1"),
        box(b"iinf", struct.pack(">IH", 0, count) + items),
        box(b"iloc", bytes(4) + b"\x44\0\0\0"),
        box(b"iref", bytes(4) + references),
        box(
            b"iprp",
            box(b"ipco", box(b"auxC", bytes(4) + b"x" * 20_000_000))
            + box(b"ipma", struct.pack(">II", 0, count) + associations),
        ),
    ]
    return box(b"ftyp", b"avif" + bytes(4)) + box(b"meta", bytes(4) + b"".join(meta))


def animated_webp(frame: bytes, count: int) -> bytes:
    """A WebP with many frames of the same content."""
    canvas = b"\x02\0\0\0" + struct.pack("<I", 47)[:3] + struct.pack("<I", 31)[:3]
    data = bytes(6) + canvas[4:] + bytes(4) + frame
    chunks = [(b"VP8X", canvas), (b"ANIM", bytes(6)), *[(b"ANMF", data)] * count]
    content = b"WEBP" + b"".join(
        struct.pack("<4sI", name, len(part)) + part + bytes(len(part) % 2) for name, part in chunks
    )
    return struct.pack("<4sI", b"RIFF", len(content)) + content


FRAMES = {"save_all": True, "append_images": [SMALL.rotate(9), SMALL.rotate(18)]}
MOVING_PNG = saved(SMALL, "PNG", **FRAMES)


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
    (AVIF[:-1], "truncated"),
    (AVIF[:40], "truncated"),
    (with_number(AVIF, b"ispe", 4, 60_000), "two different sizes"),
    (with_number(AVIF, b"iloc", 6, 65_535, ">H"), "damaged|truncated"),
    (with_number(AVIF, b"pitm", 4, 9, ">H"), "no primary picture"),
    (with_number(AVIF, b"meta", -8, 7), "impossible length|truncated"),
    (with_number(AVIF, b"iloc", 18, 2**31), "truncated"),
    (AVIF.replace(b"ispe", b"none"), "not described"),
    (many_boxes(b"free"), "boxes"),
    (many_references(), "references"),
    (many_auxiliaries(), "not described"),
    (animated_webp(b"none" + bytes(4), 1000), "no pixels"),
    (animated_webp((b"none" + bytes(4)) * 250, 10_000), "more than 16 chunks"),
    (animated_webp(saved(SMALL.crop((0, 0, 9, 9)), "WEBP")[12:], 9), "another size"),
    (animated_webp(WEBP[12:], MAX_CHUNKS), "chunks"),
    (MOVING_PNG.replace(b"fcTL", b"none", 1), "as many frames as it states"),
    (with_number(MOVING_PNG.replace(b"fcTL", b"fcTl", 2), b"fcTL", 12, 1), "outside its size"),
    (with_number(HEIC, b"ispe", 4, 60_000), "two different sizes"),
    (with_number(LARGE_HEIC, b"ispe", 4, 48), "two different sizes"),
    (with_number(HEIC, b"clap", 0, 60_000), "cropped"),
    (with_number(HEIC, b"clap", 4, 0), "cropped"),
    (with_number(HEIC, b"hvcC", 22, 255, "B"), "parameter sets|damaged|size"),
    (HEIC[:-1], "truncated"),
    (tiff({256: 48, 257: 32, 273: 8, 279: 2**31}), "truncated"),
    (tiff({256: 48, 257: 32, 273: 2**31, 279: 9}), "truncated"),
    (tiff({256: 48, 257: 32}), "no pixels"),
    (tiff({257: 32}), "does not state its size"),
    (tiff({256: 48, 257: 2**31, 278: 1, 273: 8, 279: 1}), "strips or tiles"),
    (tiff({256: 48, 257: 32, 322: 2**15, 323: 2**15, 324: 8, 325: 9}), "tiles of 32768x32768"),
    (tiff({256: 48, 257: 32, 322: 0, 323: 16, 324: 8, 325: 9}), "size of its tiles"),
    (tiff({256: 9, 257: 2, 278: 1, 273: (0, 0), 279: (150, 150)}, data=bytes(100)), "overlap"),
    (tiff({256: 48, 257: 32, 277: 6, 273: 8, 279: 9}), "header is damaged"),
    (tiff(dict.fromkeys(range(5000), 1)), "more than 4,096 entries"),
    (tiff({256: 48, 257: 32})[:30], "header is damaged"),
    (GIF[:-20], "truncated"),
    (GIF[:9], "header is damaged"),
    (GIF[:13] + b";", "no pixels"),
    (GIF[:-1] + b"?;", "unknown block"),
    (GIF[:-1] + b"!\xfe" + b"\1a" * MAX_BLOCKS + b"\0;", "blocks"),
    (BMP[:-1], "truncated"),
    (BMP[:18] + struct.pack("<i", 2**31 - 1) + BMP[22:], "truncated"),
    (BMP[:18] + struct.pack("<i", -9) + BMP[22:], "header is damaged"),
    (BMP[:28] + struct.pack("<H", 7) + BMP[30:], "header is damaged"),
    (BMP[:30], "header is damaged"),
]

XMP = b"XML:com.adobe.xmp\0"
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
    with_chunks(PNG, chunk(b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(bytes(60_000_000)))),
    with_chunks(PNG, chunk(b"iTXt", XMP + bytes(4) + b"tiff:Orientation" * 100_000)),
    with_chunks(PNG, chunk(b"iTXt", XMP + bytes(4) + b"tiff:Orientation=  " * 100_000)),
    with_chunks(PNG, chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\n" + b"ff \n" * 500_000)),
    AVIF + box(b"free", bytes(2_000_000)) + box(b"moov", bytes(2_000_000)),
    AVIF + box(b"free", b"") * (MAX_CHUNKS - 10),
    GIF[:-1] + b"!\xfe" + b"\1a" * (MAX_BLOCKS - 2000) + b"\0;",
    BMP + bytes(9_000_000),
]
