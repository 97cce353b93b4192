"""PNG: chunks with checksums."""

import struct
import zlib

from ...errors import BrokenImage
from .exif import exif_in_raw_profile, orientation_in_xmp, orientation_of
from .still import MAX_CHUNKS, MAX_PROFILE, Part, Still, check_profile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 2**20  # bytes of XMP, or of EXIF as text, in which to look for an orientation
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_RAW_PROFILES = {b"Raw profile type exif", b"Raw profile type APP1"}
_PIXELS, _MOVING = {b"IDAT", b"fdAT"}, {b"acTL", b"fcTL", b"fdAT"}
_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IEND"}


def starts(content: bytes) -> bool:
    """Whether a file starts as a PNG does."""
    return content.startswith(SIGNATURE)


def walk(content: bytes) -> Still:
    """Parse a PNG. Raises BrokenImage, ImageTooLarge."""
    view = memoryview(content)
    kept: list[Part] = [SIGNATURE]
    moving: list[Part] = [SIGNATURE]
    seen: set[bytes] = set()
    at, profile = len(SIGNATURE), None
    width = height = frames = stated_frames = 0
    orientations: dict[str, int | None] = {}  # by where they stand
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(content):
            raise BrokenImage("the png image is truncated: it has no end chunk")
        length, name = struct.unpack_from(">I4s", content, at)
        data, end = view[at + 8 : at + 8 + length], at + 12 + length
        if end > len(content):
            raise BrokenImage("the png image is truncated")
        if not seen:
            if name != b"IHDR" or length != 13:
                raise BrokenImage("the png image does not start with its header")
            width, height = struct.unpack_from(">II", data)
        if name == b"acTL" and name not in seen:
            (stated_frames,) = struct.unpack_from(">I", data)
        if name in _PIXELS:
            (stated,) = struct.unpack_from(">I", content, end - 4)
            if zlib.crc32(data, zlib.crc32(name)) != stated:
                raise BrokenImage("the png image is damaged: a checksum of its pixels is wrong")
        if name == b"eXIf" and name not in seen:
            orientations["exif"] = orientation_of(bytes(data))
        if name in _TEXTS:
            _read_text(name, bytes(data), orientations)
        if name == b"iCCP" and name not in seen:
            profile = _profile(bytes(data))
        if name == b"IDAT" or (name not in seen and name in _NEEDED):
            kept.append(view[at:end])
            moving.append(view[at:end])
        elif name in _MOVING:
            moving.append(view[at:end])
        if name == b"fcTL":
            frames += 1
            w, h, x, y = struct.unpack_from(">4x4I", data)
            if x + w > width or y + h > height:
                raise BrokenImage("the png image has a frame outside its size")
        seen.add(name)
        at = end
        if name == b"IEND":
            break
    else:
        raise BrokenImage(f"the png image has more than {MAX_CHUNKS:,} chunks")
    if b"IDAT" not in seen:
        raise BrokenImage("the png image has no pixels")
    moves = stated_frames > 1
    if moves and frames != stated_frames:
        raise BrokenImage("the png image does not have as many frames as it states")
    found = (orientations.get(place) for place in ("exif", "raw profile", "xmp"))
    return Still(
        "png",
        width,
        height,
        next(filter(None, found), 1),
        tuple(kept),
        profile,
        moving=tuple(moving) if moves else (),
        frames=frames if moves else 1,
    )


def _read_text(name: bytes, data: bytes, orientations: dict[str, int | None]) -> None:
    """Look for an orientation in the first XMP and the first EXIF in a text chunk."""
    keyword, _, rest = data.partition(b"\0")
    if name == b"iTXt" and keyword == b"XML:com.adobe.xmp" and "xmp" not in orientations:
        compressed = rest[:1] == b"\1"
        text = rest[2:].split(b"\0", 2)[-1]  # after a language and a translated keyword
        xmp = _decompressed(text, MAX_TEXT) if compressed else text[:MAX_TEXT]
        orientations["xmp"] = orientation_in_xmp(xmp or b"")
    elif name != b"iTXt" and keyword in _RAW_PROFILES and "raw profile" not in orientations:
        raw = _decompressed(rest[1:], MAX_TEXT) if name == b"zTXt" else rest[:MAX_TEXT]
        orientations["raw profile"] = orientation_of(exif_in_raw_profile(raw or b""))


def _profile(data: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None if it is damaged."""
    # A name, a null byte, the compression method in one byte, the compressed profile.
    _, _, compressed = data.partition(b"\0")
    profile = _decompressed(compressed[1:], MAX_PROFILE + 1)
    check_profile("png", len(profile or b""))
    return profile


def _decompressed(data: bytes, most: int) -> bytes | None:
    """At most so many decompressed bytes; None if the data is damaged."""
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error:
        return None
