"""WebP: RIFF chunks."""

import struct
from collections.abc import Iterator, Mapping

from ...errors import BrokenImage, ImageTooLarge
from .exif import orientation_of
from .still import MAX_CHUNKS, Part, Still, check_profile

MAX_LOSSY = 8 * 2**20  # bytes of a lossy WebP's pixels and alpha; noise decodes at 20 MB/s
_MOVES, _KEPT_FLAGS = 0x02, 0x30  # of VP8X; kept are those for a profile and for alpha
_FRAME_HEADER = 16  # bytes, before a frame's chunks
_FRAME_CHUNKS = 16  # of which two are needed

Chunk = tuple[bytes, memoryview]


def starts(content: bytes) -> bool:
    """Whether a file starts as a WebP does."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def walk(content: bytes) -> Still:
    """Parse a WebP. Raises BrokenImage, ImageTooLarge."""
    (stated,) = struct.unpack_from("<I", content, 4)
    if 8 + stated > len(content):
        raise BrokenImage("the webp image is truncated")
    found: dict[bytes, memoryview] = {}
    frames: list[memoryview] = []
    for name, data in _chunks(memoryview(content)[12 : 8 + stated]):
        if name == b"ANMF":
            frames.append(data)
        else:
            found.setdefault(name, data)
    extended = found.get(b"VP8X")
    head: list[Chunk] = []
    if extended is not None:
        check_profile("webp", len(found.get(b"ICCP", b"")))
        if len(extended) != 10:
            raise BrokenImage("the webp image cannot be read: its header is damaged")
        flags = extended[0] & _KEPT_FLAGS | (_MOVES if frames else 0)
        head = [(b"VP8X", memoryview(bytes([flags]) + bytes(extended[1:])))]
        head += [(n, found[n]) for n in (b"ICCP", b"ANIM") if n in found]
    orientation = orientation_of(bytes(found.get(b"EXIF", b""))) or 1
    if not frames:
        width, height, lossy, pixels = _pixels(found)
        _check_lossy(lossy)
        if extended is not None and _size(extended, 4) != (width, height):
            raise BrokenImage("the webp image does not have the size that its header states")
        head = [chunk for chunk in head if chunk[0] != b"ANIM"]
        return Still("webp", width, height, orientation, _file([*head, *pixels]))
    if extended is None or len(found.get(b"ANIM", b"")) != 6:
        raise BrokenImage("the webp image cannot be read: its header is damaged")
    width, height = _size(extended, 4)
    total, moving = 0, []
    for frame in frames:
        lossy, chunk = _frame(frame, width, height)
        total += lossy
        _check_lossy(total)
        moving.append((b"ANMF", chunk))
    return Still(
        "webp",
        width,
        height,
        orientation,
        _file([*head, moving[0]]),
        moving=_file([*head, *moving]) if len(moving) > 1 else (),
        frames=len(moving),
    )


def _chunks(data: memoryview, most: int = MAX_CHUNKS) -> Iterator[Chunk]:
    at = 0
    for _ in range(most):
        if at + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > len(data):
            raise BrokenImage("the webp image is truncated within a chunk")
        yield name, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise BrokenImage(f"the webp image, or one of its frames, has more than {most:,} chunks")


def _pixels(found: Mapping[bytes, memoryview]) -> tuple[int, int, int, list[Chunk]]:
    """The width, the height, the number of lossy bytes and the chunks of a bitstream."""
    name = b"VP8L" if b"VP8L" in found else b"VP8 "
    if name not in found:
        raise BrokenImage("the webp image has no pixels")
    data, alpha = found[name], found.get(b"ALPH", memoryview(b""))
    if name == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data)
        valid, width, height = signature == 0x2F, 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        signature, width, height = struct.unpack_from("<3x3sHH", data)
        valid, width, height = signature == b"\x9d\x01\x2a", width & 0x3FFF, height & 0x3FFF
    if not valid:
        raise BrokenImage("the webp image cannot be read: its header is damaged")
    lossy = len(data) + len(alpha) if name == b"VP8 " else 0
    kept = [(b"ALPH", alpha)] if b"ALPH" in found else []
    return width, height, lossy, [*kept, (name, data)]


def _frame(data: memoryview, width: int, height: int) -> tuple[int, memoryview]:
    """The number of lossy bytes of a frame, and its chunk reduced to its pixels."""
    if len(data) < _FRAME_HEADER:
        raise BrokenImage("the webp image has a damaged frame")
    w, h, lossy, pixels = _pixels(dict(_chunks(data[_FRAME_HEADER:], _FRAME_CHUNKS)))
    left, top = (2 * int.from_bytes(data[at : at + 3], "little") for at in (0, 3))
    if _size(data, 6) != (w, h) or left + w > width or top + h > height:
        raise BrokenImage("the webp image has a frame of another size than it states")
    return lossy, memoryview(b"".join([data[:_FRAME_HEADER], *_written(pixels)]))


def _check_lossy(length: int) -> None:
    if length > MAX_LOSSY:
        raise ImageTooLarge(
            f"the webp image has {length:,} bytes of lossy pixels; at most {MAX_LOSSY:,} are "
            "allowed; lower its quality, or save it as jpeg"
        )


def _size(data: memoryview, at: int) -> tuple[int, int]:
    width, height = data[at : at + 3], data[at + 3 : at + 6]
    return 1 + int.from_bytes(width, "little"), 1 + int.from_bytes(height, "little")


def _file(chunks: list[Chunk]) -> tuple[Part, ...]:
    parts = _written(chunks)
    return struct.pack("<4sI4s", b"RIFF", 4 + sum(map(len, parts)), b"WEBP"), *parts


def _written(chunks: list[Chunk]) -> list[Part]:
    return [
        part
        for name, data in chunks
        for part in (struct.pack("<4sI", name, len(data)), data, bytes(len(data) % 2))
    ]
