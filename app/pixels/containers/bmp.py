"""BMP: a header, a palette, rows of pixels."""

import struct

from ...errors import BrokenImage, UnsupportedImage
from .still import Still, check_profile

_CORE, _V5 = 12, 124  # lengths of headers
_HEADERS = (_CORE, 40, 52, 56, 64, 108, _V5)
_UNCOMPRESSED, _BITFIELDS = 0, 3
_DEPTHS = (1, 4, 8, 16, 24, 32)  # bits per pixel
_EMBEDDED = b"DEBM"  # a profile follows the pixels


def starts(content: bytes) -> bool:
    """Whether a file starts as a BMP does."""
    return content[:2] == b"BM" and content[14:15] in map(_octet, _HEADERS)


def walk(content: bytes) -> Still:
    """Parse a BMP. Raises UnsupportedImage, BrokenImage, ImageTooLarge."""
    pixels, header = struct.unpack_from("<II", content, 10)
    if header not in _HEADERS:
        raise BrokenImage("the bmp image cannot be read: its header is damaged")
    compression = colours = 0
    if header == _CORE:
        width, height, _, depth = struct.unpack_from("<HHHH", content, 18)
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", content, 18)
        (colours,) = struct.unpack_from("<I", content, 46)
    if compression not in (_UNCOMPRESSED, _BITFIELDS):
        raise UnsupportedImage("the bmp image is compressed; save it uncompressed, or as png")
    height = abs(height)  # rows from top to bottom have a negative height
    if depth not in _DEPTHS or width < 0 or colours > 256 or pixels < 14 + header:
        raise BrokenImage("the bmp image cannot be read: its header is damaged")
    end = pixels + height * ((width * depth + 31) // 32 * 4)
    if end > len(content):
        raise BrokenImage("the bmp image is truncated")
    profile = _profile(content) if header == _V5 else None
    return Still("bmp", width, height, 1, (memoryview(content)[:end],), profile)


def _octet(number: int) -> bytes:
    return bytes([number])


def _profile(content: bytes) -> bytes | None:
    """The profile of a BMP of version 5."""
    (space,) = struct.unpack_from("4s", content, 14 + 56)
    offset, length = struct.unpack_from("<II", content, 14 + 112)
    if space != _EMBEDDED:
        return None
    check_profile("bmp", length)
    return content[14 + offset : 14 + offset + length]
