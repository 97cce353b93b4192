"""AVIF and HEIC: boxes that describe items, such as pictures, their tiles and their alpha.

The file is written anew, with the primary picture, its tiles and its alpha alone. Its rotation and
mirroring become an orientation, so that no decoder applies them.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ...errors import BrokenImage, ImageTooLarge, UnsupportedImage
from . import av1, hevc
from .still import MAX_CHUNKS, FileFormat, Still, check_profile

MAX_TILES = 1024  # of a grid; a camera's picture of 48 megapixels has 192
MAX_CODED = 12 * 2**20  # bytes of pixels; noise decodes at 13 MB/s
_PADDING = 64  # pixels that HEVC may add to a side
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_KEPT = {b"ispe", b"pixi", b"colr", b"av1C", b"hvcC", b"auxC"}
_FORMATS: dict[bytes, FileFormat] = {b"av01": "avif", b"hvc1": "heic"}
_CONFIGURATIONS = {b"av01": b"av1C", b"hvc1": b"hvcC"}
_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"mif2", b"msf1"}
# EXIF orientations, by clockwise quarter turns, without and with mirroring before them.
_TURNED, _MIRRORED = (1, 6, 3, 8), (2, 7, 4, 5)

Box = tuple[bytes, bytes]


@dataclass
class _Item:
    kind: bytes = b""
    extents: list[tuple[bool, int, int]] = field(default_factory=list)  # see _places
    data: bytes = b""
    properties: list[Box] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)  # numbers of items

    def find(self, name: bytes) -> bytes | None:
        return next((content for kind, content in self.properties if kind == name), None)


def starts(content: bytes) -> bool:
    """Whether a file starts as an AVIF or a HEIC does."""
    return content[4:8] == b"ftyp" and content[8:12] in _BRANDS


def walk(content: bytes) -> Still:
    """Parse an AVIF or a HEIC. Raises UnsupportedImage, BrokenImage, ImageTooLarge."""
    meta = dict(reversed(list(_boxes(content)))).get(b"meta")
    if meta is None:
        raise UnsupportedImage("the avif or heic image is a video without a still picture")
    boxes = dict(reversed(list(_boxes(meta[4:]))))
    primary = _primary(boxes)
    references = _references(boxes.get(b"iref", b""))
    items = _items(boxes, references)
    if primary not in items:
        raise BrokenImage("the avif or heic image has no primary picture")
    alpha = next((n for n in _auxiliary(references, primary) if _is_alpha(items.get(n))), None)
    chosen = [primary, *items[primary].tiles]
    if alpha is not None:
        chosen += [alpha, *items[alpha].tiles]
    if not {*chosen} <= items.keys() or len({*chosen}) != len(chosen):
        raise BrokenImage("the avif or heic image refers to parts that it does not have")
    _read([items[number] for number in chosen], content, boxes.get(b"idat", b""))
    picture = items[primary]
    kind = items[picture.tiles[0]].kind if picture.tiles else picture.kind
    if kind not in _FORMATS:
        name = kind.decode("latin-1").strip()
        raise UnsupportedImage(f"the image is coded as {name!r}; only AV1 and HEVC are supported")
    width, height = _check_picture(picture, items, kind)
    if alpha is not None and _check_picture(items[alpha], items, kind) != (width, height):
        raise BrokenImage("the avif or heic image has an alpha of another size")
    for property, value in picture.properties:
        if property == b"colr":
            check_profile(_FORMATS[kind], len(value) - 4)  # without the type of profile
    coded = sum(len(items[number].data) for number in chosen)
    if coded > MAX_CODED:
        raise ImageTooLarge(
            f"the {_FORMATS[kind]} image has {coded:,} bytes of pixels; at most {MAX_CODED:,} are "
            "allowed; lower its quality, or save it as jpeg"
        )
    premultiplied = alpha is not None and (b"prem", primary, [alpha]) in references
    file = _file(kind, items, chosen, alpha, premultiplied)
    return Still(
        _FORMATS[kind],
        width,
        height,
        _orientation(picture),
        (file,),
        crop=_crop(picture, width, height),
    )


def _boxes(data: bytes) -> Iterator[Box]:
    """Name and content of each box."""
    at = 0
    for _ in range(MAX_CHUNKS):
        if at >= len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = at + length if length else len(data)
        if end < start:
            raise BrokenImage("the avif or heic image has a box of an impossible length")
        if end > len(data):
            raise BrokenImage("the avif or heic image is truncated")
        yield name, data[start:end]
        at = end
    raise BrokenImage(f"the avif or heic image has more than {MAX_CHUNKS:,} boxes")


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise BrokenImage("the avif or heic image cannot be read: its header is damaged")
    return int.from_bytes(data[at : at + size], "big")


def _primary(boxes: Mapping[bytes, bytes]) -> int:
    box = boxes.get(b"pitm", b"")
    return _number(box, 4, 4 if box[:1] > b"\0" else 2)


def _references(box: bytes) -> list[tuple[bytes, int, list[int]]]:
    """Kind, source and targets of each reference between items."""
    size = 4 if box[:1] > b"\0" else 2
    found, left = [], MAX_CHUNKS
    for kind, content in _boxes(box[4:]):
        count = _number(content, size, 2)
        left -= count
        if left < 0:
            raise BrokenImage(f"the avif or heic image has more than {MAX_CHUNKS:,} references")
        if 2 + size * (count + 1) > len(content):
            raise BrokenImage("the avif or heic image cannot be read: its header is damaged")
        targets = [_number(content, size + 2 + size * i, size) for i in range(count)]
        found.append((kind, _number(content, 0, size), targets))
    return found


def _auxiliary(references: Sequence[tuple[bytes, int, list[int]]], item: int) -> list[int]:
    return [source for kind, source, targets in references if kind == b"auxl" and item in targets]


def _is_alpha(item: _Item | None) -> bool:
    kind = None if item is None else item.find(b"auxC")
    return kind is not None and any(kind.startswith(name + b"\0", 4) for name in _ALPHA)


def _read(items: Sequence[_Item], content: bytes, inside: bytes) -> None:
    """Read the data of items from the file, and from the content of its idat box."""
    left = len(content)
    for item in items:
        parts = []
        for is_inside, offset, length in item.extents:
            data = inside if is_inside else content
            if offset + length > len(data):
                raise BrokenImage("the avif or heic image is truncated")
            parts.append(data[offset : offset + length] if length else data[offset:])
            left -= len(parts[-1])
            if left < 0:
                raise BrokenImage("the avif or heic image has parts that overlap")
        item.data = b"".join(parts)


def _items(
    boxes: Mapping[bytes, bytes], references: Sequence[tuple[bytes, int, list[int]]]
) -> dict[int, _Item]:
    items = {number: _Item(kind) for number, kind in _kinds(boxes.get(b"iinf", b""))}
    for kind, source, targets in references:
        if kind == b"dimg" and source in items and items[source].kind == b"grid":
            items[source].tiles = targets
    for number, extents in _places(boxes.get(b"iloc", b"")):
        if number in items:
            items[number].extents = extents
    shared = dict(reversed(list(_boxes(boxes.get(b"iprp", b"")))))
    properties = list(_boxes(shared.get(b"ipco", b"")))
    for number, places in _associations(shared.get(b"ipma", b"")):
        if number in items:
            items[number].properties = [
                properties[place - 1] for place in places if 0 < place <= len(properties)
            ]
    return items


def _kinds(box: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and kind of each item."""
    for name, content in _boxes(box[6 if box[:1] == b"\0" else 8 :]):
        if name == b"infe" and content[:1] >= b"\2":
            size = 2 if content[0] == 2 else 4
            yield _number(content, 4, size), content[6 + size : 10 + size]


def _places(box: bytes) -> Iterator[tuple[int, list[tuple[bool, int, int]]]]:
    """Each item's number, and for each of its parts: whether it is in idat, offset, length."""
    version = _number(box, 0, 1)
    offset_size, length_size = divmod(_number(box, 4, 1), 16)
    base_size, index_size = divmod(_number(box, 5, 1), 16)
    number_size = 2 if version < 2 else 4
    count, at = _number(box, 6, number_size), 6 + number_size
    left = MAX_CHUNKS
    for _ in range(count):
        item, at = _number(box, at, number_size), at + number_size
        method = _number(box, at, 2) & 15 if version else 0
        at += 4 if version else 2  # also the number of a file
        base, at = _number(box, at, base_size), at + base_size
        parts, at = _number(box, at, 2), at + 2
        left -= 1 + parts
        if left < 0:
            raise BrokenImage(f"the avif or heic image has more than {MAX_CHUNKS:,} parts")
        extents = []
        for _ in range(parts):
            at += index_size if version else 0
            offset, at = _number(box, at, offset_size), at + offset_size
            length, at = _number(box, at, length_size), at + length_size
            extents.append((method == 1, base + offset, length))
        if method < 2:  # others build items from items
            yield item, extents


def _associations(box: bytes) -> Iterator[tuple[int, list[int]]]:
    """Each item's number, and the places of its properties, from 1 on."""
    number_size = 4 if box[:1] > b"\0" else 2
    wide = _number(box, 1, 3) & 1
    at = 8
    left = MAX_CHUNKS
    for _ in range(_number(box, 4, 4)):
        item, at = _number(box, at, number_size), at + number_size
        count, at = _number(box, at, 1), at + 1
        left -= 1 + count
        if left < 0:
            raise BrokenImage(f"the avif or heic image has more than {MAX_CHUNKS:,} properties")
        size = 2 if wide else 1
        mask = 0x7FFF if wide else 0x7F
        yield item, [_number(box, at + size * i, size) & mask for i in range(count)]
        at += size * count


def _check_picture(item: _Item, items: Mapping[int, _Item], kind: bytes) -> tuple[int, int]:
    """Check and reduce a picture or a grid of pictures. Returns its (width, height)."""
    if item.kind != b"grid":
        return _check_coded(item, kind)
    _, flags, rows, columns = struct.unpack_from(">4B", item.data)
    size = struct.unpack_from(">II" if flags & 1 else ">HH", item.data, 4)
    width, height = int(size[0]), int(size[1])
    rows, columns = rows + 1, columns + 1
    tiles = [items[tile] for tile in item.tiles]
    configurations = {tile.find(_CONFIGURATIONS[kind]) for tile in tiles}
    if len(tiles) != rows * columns or len(tiles) > MAX_TILES or len(configurations) != 1:
        raise BrokenImage("the avif or heic image has tiles that do not fit together")
    sizes = {_check_coded(tile, kind) for tile in tiles}
    if len(sizes) != 1:
        raise BrokenImage("the avif or heic image has tiles that do not fit together")
    across, down = sizes.pop()
    if not (0 <= columns * across - width < across and 0 <= rows * down - height < down):
        raise BrokenImage("the avif or heic image has tiles that do not fit together")
    return width, height


def _check_coded(item: _Item, kind: bytes) -> tuple[int, int]:
    """Check and reduce a picture that is coded as `kind`. Returns its (width, height)."""
    stated = item.find(b"ispe")
    configuration = item.find(_CONFIGURATIONS[kind])
    if item.kind != kind or stated is None or configuration is None:
        raise BrokenImage("the avif or heic image has a part that is not described")
    width, height = struct.unpack_from(">II", stated, 4)
    if kind == b"av01":
        item.data, coded = av1.reduced(item.data)
        # A decoder takes the sequence from the pixels.
        header = configuration[:4]
        item.properties = [(n, header if n == b"av1C" else v) for n, v in item.properties]
        fits = coded == (width, height)
    else:
        coded = hevc.size_of(configuration)
        item.data = hevc.reduced(item.data, configuration)
        fits = all(0 <= c - s < _PADDING for c, s in zip(coded, (width, height), strict=True))
    if not fits:
        raise BrokenImage(f"the {_FORMATS[kind]} image states two different sizes")
    return width, height


def _crop(item: _Item, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The clean aperture (ISO/IEC 14496-12, 12.1.4.1), rounded to whole pixels."""
    aperture = item.find(b"clap")
    if aperture is None:
        return None
    numbers = struct.unpack_from(">IIIIiIiI", aperture)
    if 0 in numbers[1::2]:
        raise BrokenImage("the avif or heic image is cropped by nothing")
    w, h, x, y = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    left, top = round((width - w) / 2 + x), round((height - h) / 2 + y)
    right, bottom = left + round(w), top + round(h)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise BrokenImage("the avif or heic image is cropped to more than it has")
    return left, top, right, bottom


def _orientation(item: _Item) -> int:
    """As in EXIF. The EXIF itself does not count in these formats (ISO/IEC 23008-12, 6.5.10)."""
    turns, mirrored = 0, False
    for name, content in item.properties:
        if name == b"irot":
            turns -= content[0] & 3  # stated anticlockwise
        elif name == b"imir":
            # Mirroring after n turns is n turns back after mirroring; an axis of 0 turns it upside
            # down, and 1 exchanges left and right.
            turns, mirrored = -turns + (0 if content[0] & 1 else 2), not mirrored
    return (_MIRRORED if mirrored else _TURNED)[turns % 4]


def _file(
    kind: bytes,
    items: Mapping[int, _Item],
    chosen: Sequence[int],
    alpha: int | None,
    premultiplied: bool,
) -> bytes:
    """A file with the chosen items, of which the first is the primary one."""
    numbers = {item: number for number, item in enumerate(chosen, 1)}
    properties: dict[Box, int] = {}  # their places, from 1 on
    entries, places, associations, references = [], [], [], []
    offset = 0
    for item, number in numbers.items():
        found = items[item]
        kept = [box for box in dict.fromkeys(found.properties) if box[0] in _KEPT]
        used = [properties.setdefault(box, len(properties) + 1) for box in kept]
        marks = [
            place | (0x8000 if box[0] in _CONFIGURATIONS.values() else 0)
            for place, box in zip(used, kept, strict=True)
        ]
        entries.append(_box(b"infe", struct.pack(">IHH4sx", 2 << 24, number, 0, found.kind)))
        places.append((number, offset, len(found.data)))
        associations.append(struct.pack(f">HB{len(marks)}H", number, len(marks), *marks))
        if found.tiles:
            references.append((b"dimg", number, [numbers[tile] for tile in found.tiles]))
        offset += len(found.data)
    if alpha is not None:
        references.append((b"auxl", numbers[alpha], [1]))
    if alpha is not None and premultiplied:
        references.append((b"prem", 1, [numbers[alpha]]))
    brand = _FORMATS[kind].encode()
    head = _box(b"ftyp", brand + bytes(4) + brand + b"mif1")

    def meta(start: int) -> bytes:
        located = b"".join(
            struct.pack(">HHHII", n, 0, 1, start + at, size) for n, at, size in places
        )
        linked = b"".join(
            _box(name, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))
            for name, source, targets in references
        )
        written = b"".join(_box(*box) for box in properties)
        count = len(numbers)
        return _box(
            b"meta",
            bytes(4)
            + _box(b"hdlr", struct.pack(">II4s13x", 0, 0, b"pict"))
            + _box(b"pitm", struct.pack(">IH", 0, 1))
            + _box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, count) + located)
            + _box(b"iinf", struct.pack(">IH", 0, count) + b"".join(entries))
            + (_box(b"iref", bytes(4) + linked) if linked else b"")
            + _box(
                b"iprp",
                _box(b"ipco", written)
                + _box(b"ipma", struct.pack(">II", 1, count) + b"".join(associations)),
            ),
        )

    start = len(head) + len(meta(0)) + 8
    pixels = b"".join(items[item].data for item in chosen)
    return head + meta(start) + _box(b"mdat", pixels)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
