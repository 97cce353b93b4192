"""The orientation of a PNG, wherever it stands."""

import zlib

import numpy as np
import pytest
from PIL import Image

from app.pixels.containers import walk
from app.pixels.containers.exif import exif_in_raw_profile, orientation_in_xmp, orientation_of
from app.pixels.images import decode
from tests.tools.hostile_images import PNG, with_chunks
from tests.tools.image_files import SHADES, chunk, exif, saved
from tests.unit.app.pixels.test_images import STORED

ATTRIBUTE = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
ELEMENT = b"<x:xmpmeta><tiff:Orientation>%d</tiff:Orientation></x:xmpmeta>"


def raw_profile(orientation: int, name: bytes = b"exif") -> bytes:
    content = exif(orientation).tobytes()
    digits = content.hex().encode()
    lines = b"\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return b"\n%b\n%8d\n%b\n" % (name, len(content), lines)


def xmp(text: bytes) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)


def compressed_xmp(text: bytes) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0XMP\0" + zlib.compress(text))


def raw(text: bytes, keyword: bytes = b"exif") -> bytes:
    return chunk(b"tEXt", b"Raw profile type " + keyword + b"\0" + text)


def compressed_raw(text: bytes) -> bytes:
    return chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))


PLACES = {
    "EXIF": lambda n: chunk(b"eXIf", exif(n).tobytes().removeprefix(b"Exif\0\0")),
    "attribute of XMP": lambda n: xmp(ATTRIBUTE % n),
    "element of XMP": lambda n: xmp(ELEMENT % n),
    "compressed XMP": lambda n: compressed_xmp(ATTRIBUTE % n),
    "raw profile": lambda n: raw(raw_profile(n)),
    "compressed raw profile": lambda n: compressed_raw(raw_profile(n)),
    "raw profile APP1": lambda n: raw(raw_profile(n, b"generic"), b"APP1"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_becomes_upright(place: str, orientation: int, before: bytes) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](SHADES)))
    content = with_chunks(saved(stored, "PNG"), PLACES[place](orientation), before)
    assert walk(content).orientation == orientation
    assert np.array_equal(decode(content, 10_000).rgb, SHADES)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (PLACES["EXIF"](1) + PLACES["attribute of XMP"](6), 1),
        (PLACES["attribute of XMP"](6) + PLACES["EXIF"](8), 8),
        (PLACES["attribute of XMP"](6) + PLACES["raw profile"](3), 3),
        (PLACES["attribute of XMP"](6) + PLACES["element of XMP"](3), 6),
        (chunk(b"eXIf", b"broken") + PLACES["element of XMP"](3), 3),
    ],
)
def test_exif_counts_more_than_xmp(chunks: bytes, expected: int) -> None:
    assert walk(with_chunks(PNG, chunks)).orientation == expected


@pytest.mark.parametrize(
    "chunks",
    [
        compressed_xmp(ATTRIBUTE % 6)[:-30].ljust(200, b"\0"),
        chunk(b"zTXt", b"Raw profile type exif\0\0not compressed"),
        raw(b"\nexif\n 10\nnot hexadecimal"),
        raw(b"\nexif\n 10\n45786"),
        raw(b""),
        xmp(b'tiff:Orientation="9"'),
        xmp(b""),
        chunk(b"iTXt", b"XML:com.adobe.xmp"),
        chunk(b"iTXt", b"Comment\0\0\0\0\0" + ATTRIBUTE % 6),
    ],
)
def test_broken_metadata_is_ignored(chunks: bytes) -> None:
    length = int.from_bytes(chunks[:4], "big")
    whole = chunk(chunks[4:8], chunks[8 : 8 + length])
    assert walk(with_chunks(PNG, whole)).orientation == 1


def test_nothing_is_found_where_nothing_is() -> None:
    assert orientation_of(b"") is None
    assert orientation_in_xmp(b"tiff:Orientation") is None
    assert exif_in_raw_profile(b"") == b""
