"""GIF: blocks of sub-blocks."""

import struct

from ...errors import BrokenImage
from .still import Part, Still

MAX_BLOCKS = 2**18  # blocks and sub-blocks: 32 MiB in sub-blocks of 128 bytes
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL, _LOOP = 0xF9, b"NETSCAPE2.0"  # extensions
_MAX_SIDE = 2**16 - 1
_PALETTE = 0x80  # flag; its lower three bits are the palette's size


def starts(content: bytes) -> bool:
    """Whether a file starts as a GIF does."""
    return content[:6] in (b"GIF87a", b"GIF89a")


def walk(content: bytes) -> Still:
    """Parse a GIF. Raises BrokenImage."""
    view = memoryview(content)
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + _palette(flags)
    moving: list[Part] = [view[:at]]
    first: tuple[Part, ...] = ()
    frames, left = 0, MAX_BLOCKS
    while at < len(content) and content[at] != _TRAILER:
        kind, start = content[at], at
        if kind == _EXTENSION:
            at, left = _skip(content, at + 2, left)
            if content[start + 1] == _CONTROL or content[start + 3 : start + 14] == _LOOP:
                moving.append(view[start:at])
        elif kind == _IMAGE:
            x, y, w, h, flags = struct.unpack_from("<4HB", content, at + 1)
            if not frames:
                # As browsers do, enlarge the screen for a picture that exceeds it.
                width, height = max(width, x + w), max(height, y + h)
                screen = struct.pack("<HH", min(width, _MAX_SIDE), min(height, _MAX_SIDE))
                moving[0] = b"".join([content[:6], screen, moving[0][10:]])
            elif x + w > width or y + h > height:
                raise BrokenImage("the gif image has a frame outside its screen")
            at, left = _skip(content, at + 11 + _palette(flags), left)
            moving.append(view[start:at])
            frames += 1
            first = first or (*moving, b";")
        else:
            raise BrokenImage("the gif image is damaged: it has an unknown block")
    if not frames:
        raise BrokenImage("the gif image has no pixels")
    whole = (*moving, b";") if frames > 1 else ()
    return Still("gif", width, height, 1, first, moving=whole, frames=frames)


def _palette(flags: int) -> int:
    """The length of a palette, bytes."""
    return 3 << (flags & 7) + 1 if flags & _PALETTE else 0


def _skip(content: bytes, at: int, left: int) -> tuple[int, int]:
    """The end of the sub-blocks that start at `at`, and how many more blocks are allowed."""
    while True:
        if left == 0:
            raise BrokenImage(f"the gif image has more than {MAX_BLOCKS:,} blocks")
        if at >= len(content):
            raise BrokenImage("the gif image is truncated")
        length, left = content[at], left - 1
        at += 1 + length
        if length == 0:
            return at, left
