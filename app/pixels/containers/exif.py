"""The orientation of a picture in its metadata: EXIF and XMP."""

import re
import struct

_ORIENTATION, _SHORT = 0x0112, 3
_IN_XMP = re.compile(rb"tiff:Orientation\s{0,9}(?:=\s{0,9}[\"']|>)\s{0,9}([1-8])\s{0,9}[\"'<]")
_RAW_PROFILE = re.compile(rb"\s{0,9}(?:exif|generic|APP1)\s{1,9}\d{1,9}\s([0-9A-Fa-f\s]*)")


def orientation_of(exif: bytes) -> int | None:
    """The orientation in EXIF, 1 to 8; None if it is missing or the EXIF is broken."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return int(value) if kind == _SHORT and 1 <= value <= 8 else None
    except struct.error:
        pass  # ignore broken EXIF
    return None


def orientation_in_xmp(xmp: bytes) -> int | None:
    """The orientation in XMP, 1 to 8; None if it is missing."""
    found = _IN_XMP.search(xmp)
    return None if found is None else int(found[1])


def exif_in_raw_profile(text: bytes) -> bytes:
    """The EXIF in a raw profile of ImageMagick: its name, its length, its bytes in hexadecimal."""
    found = _RAW_PROFILE.match(text)
    digits = b"" if found is None else b"".join(found[1].split())
    return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
