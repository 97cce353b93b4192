"""JPEG: segments with markers."""

import re
import struct
from collections.abc import Iterator

from ...errors import BrokenImage, ImageTooLarge, UnsupportedImage
from .exif import orientation_of
from .still import MAX_CHUNKS, Part, Still, check_profile

MAX_TABLES = 16_384  # bytes of quantisation and Huffman tables before a JPEG's first scan
MAX_PROGRESSIVE = 12 * 2**20  # bytes of a progressive JPEG's scans; noise decodes at 25 MB/s
# A decoder visits every block of a JPEG in every scan, even in a scan of a few bytes: without a
# limit, a small file could take seconds.
MAX_SCANS = 100
MAX_SCANS_OF_LARGE = 16  # encoders write about 10
MAX_SCANNED_PIXELS = 400_000_000  # pixels x scans; more only with at most MAX_SCANS_OF_LARGE scans

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # except markers without a segment
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {_DHT, 0xC8, 0xCC}  # SOF0 to SOF15
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = {0xC0, 0xC1, _PROGRESSIVE}  # baseline, extended
_JPEG_LS = 0xF7  # SOF55
_ICC = b"ICC_PROFILE\0"


def starts(content: bytes) -> bool:
    """Whether a file starts as a JPEG does."""
    return content[:3] == b"\xff\xd8\xff"


def walk(content: bytes) -> Still:
    """Parse a JPEG. Raises UnsupportedImage, BrokenImage, ImageTooLarge."""
    kept: list[Part] = [b"\xff\xd8"]
    size: tuple[int, int] | None = None
    orientation: int | None = None
    exif = tables = scans = first_scan = frame = profile = 0
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
            exif, orientation = start, orientation_of(segment)
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
    check_profile("jpeg", profile)
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
