"""Parse image files without decoding pixels, and reduce them to what a decoder needs.

The parser walks a file once, chunk by chunk, in time linear in its size. It keeps only what pixels
and colours depend on. Text, EXIF, previews, further pictures and unknown chunks never reach a
decoder, so a client cannot use them to make the decoder work.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..errors import AnimatedImage, BrokenImage, ImageTooLarge, UnsupportedImage

Format = Literal["jpeg", "png", "webp"]
Part = bytes | memoryview

FORMATS: tuple[Format, ...] = ("jpeg", "png", "webp")
MAX_CHUNKS = 16_384  # chunks of a PNG or WebP, segments of a JPEG: 32 MiB in chunks of 2 KiB
MAX_TABLES = 16_384  # bytes of quantisation and Huffman tables before a JPEG's first scan
MAX_PROGRESSIVE = 12 * 2**20  # bytes of a progressive JPEG's scans; noise decodes at 25 MB/s
MAX_LOSSY = 8 * 2**20  # bytes of a lossy WebP's pixels and alpha; noise decodes at 20 MB/s
MAX_PROFILE = 4 * 2**20  # bytes of a colour profile; profiles for printing have 1 or 2 MB
# A decoder visits every block of a JPEG in every scan, even in a scan of a few bytes: without a
# limit, a small file could take seconds.
MAX_SCANS = 100
MAX_SCANS_OF_LARGE = 16  # encoders write about 10
MAX_SCANNED_PIXELS = 400_000_000  # pixels x scans; more only with at most MAX_SCANS_OF_LARGE scans

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IEND"}
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # except markers without a segment
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC}  # SOF0 to SOF15
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = {0xC0, 0xC1, _PROGRESSIVE}  # baseline, extended
_JPEG_LS = 0xF7  # SOF55
_ICC = b"ICC_PROFILE\0"
_ORIENTATION, _SHORT = 0x0112, 3
_ANIMATED, _KEPT_FLAGS = 0x02, 0x30  # of VP8X; kept are those for a profile and for alpha


@dataclass(frozen=True)
class Still:
    """A picture in its file, not decoded. Width and height are as stored, in pixels."""

    format: Format
    width: int
    height: int
    orientation: int  # of EXIF, 1 to 8
    parts: tuple[Part, ...]
    profile: bytes | None = None  # ICC, decompressed; only of a PNG, others have it in `parts`

    @property
    def pixels(self) -> int:
        """width x height."""
        return self.width * self.height

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright picture, in pixels."""
        transposed = self.orientation >= 5
        return (self.height, self.width) if transposed else (self.width, self.height)

    @property
    def content(self) -> bytes:
        """The file, reduced to what its pixels and colours depend on."""
        return b"".join(self.parts)


def walk(content: bytes) -> Still:
    """Detect the format of a file by its content, and parse it.

    Raises UnsupportedImage, AnimatedImage, BrokenImage, ImageTooLarge.
    """
    try:
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg(content)
        if content.startswith(_PNG):
            return _png(content)
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp(content)
    except (struct.error, IndexError) as error:
        raise BrokenImage("the image cannot be read: its header is damaged") from error
    raise UnsupportedImage(
        f"the content is not an image of an allowed format ({', '.join(FORMATS)})"
    )


def _jpeg(content: bytes) -> Still:
    kept: list[Part] = [b"\xff\xd8"]
    size: tuple[int, int] | None = None
    orientation = exif = tables = scans = first_scan = frame = profile = 0
    for marker, start, end in _segments(content):
        segment = content[start + 4 : end]
        if marker == _JPEG_LS:
            raise UnsupportedImage("the image is a JPEG-LS; this format is not allowed")
        if marker in _FRAMES:
            if marker not in _HUFFMAN_FRAMES:
                raise UnsupportedImage(
                    "the jpeg image is lossless, hierarchical or arithmetic-coded; "
                    "only baseline and progressive are supported"
                )
            if segment[0] != 8:
                raise UnsupportedImage(
                    f"the jpeg image has {segment[0]} bits per channel; only 8 are supported"
                )
            if size is not None:
                raise BrokenImage("the jpeg image has more than one frame")
            height, width = struct.unpack_from(">HH", segment, 1)
            frame, size = marker, (width, height)
        elif marker == _SOS:
            if size is None:
                raise BrokenImage("the jpeg image has a scan before its frame")
            first_scan = first_scan or start
            scans += 1
            if scans > (limit := _max_scans(*size)):
                raise BrokenImage(
                    f"the jpeg image has more than {limit} scans, the limit for its size"
                )
        elif marker in (_DQT, _DHT) and not scans:
            tables += len(segment)
            if tables > MAX_TABLES:
                raise BrokenImage(f"the jpeg image has more than {MAX_TABLES:,} bytes of tables")
        elif marker == 0xE1 and segment.startswith(b"Exif\0\0") and not exif:
            exif, orientation = start, _orientation(segment)
        elif marker == 0xE2 and segment.startswith(_ICC):
            profile += len(segment) - len(_ICC) - 2  # two bytes number the part
        if not scans and _is_needed(marker, segment):
            kept.append(content[start:end])
        if marker == _EOI:
            break
    else:
        raise BrokenImage("the jpeg image is truncated: it has no end marker")
    if size is None or not scans:
        raise BrokenImage("the jpeg image has no pixels")
    _check_profile("jpeg", profile)
    if frame == _PROGRESSIVE and end - first_scan > MAX_PROGRESSIVE:
        raise ImageTooLarge(
            f"the jpeg image has {end - first_scan:,} bytes of progressive scans; at most "
            f"{MAX_PROGRESSIVE:,} are allowed; lower its quality, or save it as baseline"
        )
    kept.append(memoryview(content)[first_scan:end])
    return Still("jpeg", *size, orientation or 1, tuple(kept))


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment. Like libjpeg, skip any bytes between segments."""
    at = 2
    for _ in range(MAX_CHUNKS):
        found = _MARKER.search(content, at)
        if found is None:
            return
        marker, start, at = found[1][0], found.start(), found.end()
        if marker == _SOI:
            raise BrokenImage("the jpeg image has a second start marker")
        if marker != _EOI:
            (length,) = struct.unpack_from(">H", content, at)
            at += length
            if length < 2 or at > len(content):
                raise BrokenImage("the jpeg image is truncated within a segment")
        yield marker, start, at
    raise BrokenImage(f"the jpeg image has more than {MAX_CHUNKS:,} segments")


def _is_needed(marker: int, segment: bytes) -> bool:
    return (
        marker in _HUFFMAN_FRAMES
        or marker in (_DQT, _DHT, _DRI)
        or (marker == 0xE0 and segment.startswith(b"JFIF\0"))
        or (marker == 0xE2 and segment.startswith(_ICC))
        or (marker == 0xEE and segment.startswith(b"Adobe"))
    )


def _max_scans(width: int, height: int) -> int:
    return min(MAX_SCANS, max(MAX_SCANS_OF_LARGE, MAX_SCANNED_PIXELS // max(width * height, 1)))


def _png(content: bytes) -> Still:
    view = memoryview(content)
    kept: list[Part] = [_PNG]
    seen: set[bytes] = set()
    at, orientation, profile = len(_PNG), 1, None
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(content):
            raise BrokenImage("the png image is truncated: it has no end chunk")
        length, name = struct.unpack_from(">I4s", content, at)
        data, end = view[at + 8 : at + 8 + length], at + 12 + length
        if end > len(content):
            raise BrokenImage("the png image is truncated")
        if not seen and (name != b"IHDR" or length != 13):
            raise BrokenImage("the png image does not start with its header")
        if name == b"acTL" and struct.unpack_from(">I", data)[0] > 1:
            raise AnimatedImage("the image is an animation; send a single picture")
        if name == b"IDAT":
            (stated,) = struct.unpack_from(">I", content, end - 4)
            if zlib.crc32(data, zlib.crc32(name)) != stated:
                raise BrokenImage("the png image is damaged: a checksum of its pixels is wrong")
        if name == b"eXIf" and name not in seen:
            orientation = _orientation(bytes(data))
        if name == b"iCCP" and name not in seen:
            profile = _decompressed(bytes(data))
        if name == b"IDAT" or (name not in seen and name in _PNG_NEEDED):
            kept.append(view[at:end])
        seen.add(name)
        at = end
        if name == b"IEND":
            break
    else:
        raise BrokenImage(f"the png image has more than {MAX_CHUNKS:,} chunks")
    if b"IDAT" not in seen:
        raise BrokenImage("the png image has no pixels")
    width, height = struct.unpack_from(">II", content, 16)
    return Still("png", width, height, orientation, tuple(kept), profile)


def _decompressed(data: bytes) -> bytes | None:
    """The profile in an iCCP chunk; None if it is damaged."""
    # A name, a null byte, the compression method in one byte, the compressed profile.
    _, _, compressed = data.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(compressed[1:], MAX_PROFILE + 1)
    except zlib.error:
        return None
    _check_profile("png", len(profile))
    return profile


def _check_profile(format: Format, length: int) -> None:
    if length > MAX_PROFILE:
        raise ImageTooLarge(
            f"the {format} image has a colour profile of more than {MAX_PROFILE:,} bytes, "
            "the limit; convert it to sRGB"
        )


def _webp(content: bytes) -> Still:
    view = memoryview(content)
    (stated,) = struct.unpack_from("<I", content, 4)
    if 8 + stated > len(content):
        raise BrokenImage("the webp image is truncated")
    found: dict[bytes, memoryview] = {}
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > 8 + stated:
            break
        name, length = struct.unpack_from("<4sI", content, at)
        if at + 8 + length > 8 + stated:
            raise BrokenImage("the webp image is truncated within a chunk")
        found.setdefault(name, view[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    else:
        raise BrokenImage(f"the webp image has more than {MAX_CHUNKS:,} chunks")
    extended = found.get(b"VP8X")
    if b"ANMF" in found or b"ANIM" in found or (extended and extended[0] & _ANIMATED):
        raise AnimatedImage("the image is an animation; send a single picture")
    name = b"VP8L" if b"VP8L" in found else b"VP8 "
    if name not in found:
        raise BrokenImage("the webp image has no pixels")
    lossy = len(found[name]) + len(found.get(b"ALPH", b"")) if name == b"VP8 " else 0
    if lossy > MAX_LOSSY:
        raise ImageTooLarge(
            f"the webp image has {lossy:,} bytes of lossy pixels; at most {MAX_LOSSY:,} are "
            "allowed; lower its quality, or save it as jpeg"
        )
    width, height = _webp_size(name, found[name])
    wanted = [name]
    if extended is not None:
        if len(extended) != 10 or _canvas(extended) != (width, height):
            raise BrokenImage("the webp image does not have the size that its header states")
        _check_profile("webp", len(found.get(b"ICCP", b"")))
        flags = bytes([extended[0] & _KEPT_FLAGS])
        found[b"VP8X"] = memoryview(flags + bytes(extended[1:]))
        wanted = [n for n in (b"VP8X", b"ICCP", b"ALPH") if n in found] + wanted
    chunks: list[Part] = []
    for name in wanted:
        data = found[name]
        chunks += [struct.pack("<4sI", name, len(data)), data, bytes(len(data) % 2)]
    total = 4 + sum(map(len, chunks))
    orientation = _orientation(bytes(found.get(b"EXIF", b"")))
    head = struct.pack("<4sI4s", b"RIFF", total, b"WEBP")
    return Still("webp", width, height, orientation, (head, *chunks))


def _webp_size(name: bytes, data: memoryview) -> tuple[int, int]:
    if name == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data)
        valid, width, height = signature == 0x2F, 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        signature, width, height = struct.unpack_from("<3x3sHH", data)
        valid, width, height = signature == b"\x9d\x01\x2a", width & 0x3FFF, height & 0x3FFF
    if not valid:
        raise BrokenImage("the webp image cannot be read: its header is damaged")
    return width, height


def _canvas(extended: memoryview) -> tuple[int, int]:
    width, height = extended[4:7], extended[7:10]
    return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")


def _orientation(exif: bytes) -> int:
    """The orientation in EXIF, 1 to 8; 1 if it is missing or the EXIF is broken."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return int(value) if kind == _SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass  # ignore broken EXIF
    return 1
