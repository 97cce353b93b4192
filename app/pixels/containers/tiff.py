"""TIFF: directories of entries that refer to anywhere in the file."""

import struct
from collections.abc import Mapping, Sequence

from ...errors import BrokenImage, UnsupportedImage
from .still import Part, Still, check_profile

MAX_ENTRIES = 4096  # of the first directory; later ones are not read
MAX_STRIPS = 65_536  # strips or tiles, which are at least one per row
MAX_SURPLUS = 2**20  # pixels of tiles outside the picture, or three times the picture

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES = 273, 274, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _FILL_ORDER, _EXTRA, _FORMAT = 317, 320, 266, 338, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_PROFILE = 34675
_KEPT = (
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANES, _PREDICTOR),
    *(_PALETTE, _FILL_ORDER, _EXTRA, _FORMAT, _TILE_WIDTH, _TILE_HEIGHT),
)
_COMPRESSIONS = {  # decoded in time linear in the size of the picture
    1: "none",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
}
_COLOURS = {0, 1, 2, 3, 5}  # white is zero, black is zero, RGB, palette, CMYK
_TYPES = {1: "B", 3: "H", 4: "I"}  # that the entries needed may have: byte, short, long
_UNDEFINED = 7
_ORDERS = {b"II": "<", b"MM": ">"}


def starts(content: bytes) -> bool:
    """Whether a file starts as a TIFF does."""
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def walk(content: bytes) -> Still:
    """Parse the first picture of a TIFF. Raises UnsupportedImage, BrokenImage, ImageTooLarge."""
    if b"+" in content[:4]:
        raise UnsupportedImage("the tiff image is a BigTIFF; save it as a classic TIFF")
    order = _ORDERS[content[:2]]
    entries = _entries(content, order)
    first = {tag: values[0] for tag, values in entries.items() if values}
    if _WIDTH not in first or _HEIGHT not in first:
        raise BrokenImage("the tiff image does not state its size")
    width, height = first[_WIDTH], first[_HEIGHT]
    samples = first.get(_SAMPLES, 1)
    bits = entries.get(_BITS, (1,))
    _check_samples(first, samples, bits)
    tiled = _TILES in entries
    pieces = _pieces(entries, first, width, height, samples, tiled)
    view = memoryview(content)
    offsets = entries.get(_TILES if tiled else _STRIPS, ())
    lengths = entries.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    if len(offsets) < pieces or len(lengths) < pieces:
        raise BrokenImage("the tiff image has no pixels, or not all of them")
    data: list[Part] = []
    for offset, length in zip(offsets[:pieces], lengths[:pieces], strict=True):
        if offset + length > len(content):
            raise BrokenImage("the tiff image is truncated")
        data.append(view[offset : offset + length])
    if sum(map(len, data)) > len(content):
        raise BrokenImage("the tiff image has parts that overlap")
    kept = {tag: entries[tag] for tag in _KEPT if tag in entries}
    orientation = first.get(_ORIENTATION, 1)
    return Still(
        "tiff",
        width,
        height,
        orientation if 1 <= orientation <= 8 else 1,
        _file(order, kept, data, tiled),
        _profile(content, order),
    )


def _directory(content: bytes, order: str) -> list[tuple[int, int, int, int]]:
    """Tag, type, count and position of the value, of each entry of the first directory."""
    (at,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, at)
    if count > MAX_ENTRIES:
        raise BrokenImage(f"the tiff image has more than {MAX_ENTRIES:,} entries")
    found = []
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", content, entry)
        found.append((tag, kind, length, entry + 8))
    return found


def _entries(content: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """The numbers of the entries that are needed, by tag."""
    found: dict[int, tuple[int, ...]] = {}
    needed = {*_KEPT, _ORIENTATION, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
    for tag, kind, count, at in _directory(content, order):
        letter = _TYPES.get(kind)
        if tag not in needed or tag in found or letter is None:
            continue
        if count > max(MAX_STRIPS, 3 * 2**16):
            raise BrokenImage(f"the tiff image has more than {MAX_STRIPS:,} strips or tiles")
        form = f"{order}{count}{letter}"
        if struct.calcsize(form) > 4:
            (at,) = struct.unpack_from(order + "I", content, at)
        found[tag] = struct.unpack_from(form, content, at)
    return found


def _check_samples(first: Mapping[int, int], samples: int, bits: Sequence[int]) -> None:
    compression, colours = first.get(_COMPRESSION, 1), first.get(_PHOTOMETRIC, 1)
    if compression not in _COMPRESSIONS:
        names = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise UnsupportedImage(
            f"the tiff image has compression {compression}; the allowed ones are {names}"
        )
    if colours not in _COLOURS:
        raise UnsupportedImage("the tiff image is neither grey, RGB, CMYK nor of a palette")
    if first.get(_FORMAT, 1) != 1 or not {*bits} <= {1, 2, 4, 8, 16}:
        raise UnsupportedImage(
            "the tiff image has numbers other than whole ones of 1, 2, 4, 8 or 16 bits"
        )
    possible = 1 <= samples <= 5 and len({*bits}) == 1 and len(bits) in (1, samples)
    if not possible or first.get(_PREDICTOR, 1) not in (1, 2):
        raise BrokenImage("the tiff image cannot be read: its header is damaged")


def _pieces(
    entries: Mapping[int, Sequence[int]],
    first: Mapping[int, int],
    width: int,
    height: int,
    samples: int,
    tiled: bool,
) -> int:
    """The number of strips or tiles."""
    if tiled:
        across, down = first.get(_TILE_WIDTH, 0), first.get(_TILE_HEIGHT, 0)
        if not across * down:
            raise BrokenImage("the tiff image does not state the size of its tiles")
        count = -(-width // across) * -(-height // down)
        pixels = width * height
        if count * across * down - pixels > max(MAX_SURPLUS, 3 * pixels):
            raise BrokenImage(f"the tiff image has tiles of {across}x{down} pixels, too large")
    else:
        count = -(-height // max(1, min(first.get(_ROWS, height), height)))
    count *= samples if first.get(_PLANES, 1) == 2 else 1
    if count > MAX_STRIPS:
        raise BrokenImage(f"the tiff image has more than {MAX_STRIPS:,} strips or tiles")
    return count


def _profile(content: bytes, order: str) -> bytes | None:
    for tag, kind, count, at in _directory(content, order):
        if tag == _PROFILE and kind in (1, _UNDEFINED) and count > 4:
            check_profile("tiff", count)
            (offset,) = struct.unpack_from(order + "I", content, at)
            return content[offset : offset + count]
    return None


def _file(
    order: str, entries: Mapping[int, Sequence[int]], data: list[Part], tiled: bool
) -> tuple[Part, ...]:
    """A TIFF with one directory, which starts the file."""
    lengths = [len(part) for part in data]
    entries = {
        **entries,
        _TILES if tiled else _STRIPS: lengths,  # a placeholder of the same length
        _TILE_BYTES if tiled else _STRIP_BYTES: lengths,
    }
    size = 8 + 2 + 12 * len(entries) + 4
    start = size + sum(4 * len(values) for values in entries.values() if len(values) > 1)
    offsets, at = [], start
    for length in lengths:
        offsets.append(at)
        at += length
    entries[_TILES if tiled else _STRIPS] = offsets
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head, values_at, rest = [mark, struct.pack(order + "IH", 8, len(entries))], size, []
    for tag, values in sorted(entries.items()):
        kind = 3 if tag in (_BITS, _PALETTE, _EXTRA, _FORMAT) else 4
        number = struct.pack(f"{order}{len(values)}{_TYPES[kind]}", *values)
        place = number.ljust(4, b"\0")
        if len(number) > 4:
            place = struct.pack(order + "I", values_at)
            rest.append(number)
            values_at += len(number)
        head.append(struct.pack(order + "HHI", tag, kind, len(values)) + place)
    gap = bytes(start - values_at)
    return (b"".join([*head, bytes(4), *rest, gap]), *data)
