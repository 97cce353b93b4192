"""HEVC, the codec of HEIC: network abstraction layer units (NAL units)."""

import struct
from collections.abc import Iterator
from functools import lru_cache

from ...errors import BrokenImage
from .bits import Bits

MAX_UNITS = 1024  # of a picture or a tile; level 6.2 has 600 slices
MAX_PARAMETERS = 16  # sets of parameters; encoders write three or four
MAX_CONFIGURATION = 2**16  # bytes
_FIRST_OTHER, _SEQUENCE = 32, 33  # kinds of units; below the first are slices of pictures


@lru_cache(4)  # the tiles of a picture share one
def size_of(configuration: bytes) -> tuple[int, int]:
    """The (width, height) that a decoder allocates, pixels, from the content of an hvcC box.

    Raises BrokenImage; struct.error or IndexError if it is truncated.
    """
    if len(configuration) > MAX_CONFIGURATION:
        raise BrokenImage("the heic image has too large a header")
    sizes = {_size(unit) for kind, unit in _parameters(configuration) if kind == _SEQUENCE}
    if len(sizes) != 1:
        raise BrokenImage("the heic image does not state its size, or states several")
    return sizes.pop()


def reduced(data: bytes, configuration: bytes) -> bytes:
    """The slices of one picture, without other units. Raises as size_of."""
    length_bytes = (configuration[21] & 3) + 1
    kept: list[bytes] = []
    at = pictures = 0
    for _ in range(MAX_UNITS):
        if at >= len(data):
            break
        start, at = at, at + length_bytes
        end = at + int.from_bytes(data[start:at], "big")
        if end > len(data):
            raise BrokenImage("the heic image is truncated within its pixels")
        if end - at > 2 and data[at] >> 1 & 63 < _FIRST_OTHER:
            pictures += data[at + 2] >> 7  # the first slice of a picture
            kept.append(data[start:end])
        at = end
    else:
        raise BrokenImage(f"the heic image has more than {MAX_UNITS:,} units")
    if pictures != 1:
        raise BrokenImage("the heic image has no pixels, or those of several pictures")
    return b"".join(kept)


def _parameters(configuration: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each parameter set."""
    at, left = 23, MAX_PARAMETERS
    for _ in range(configuration[22]):
        (count,) = struct.unpack_from(">H", configuration, at + 1)
        kind = configuration[at] & 63
        at += 3
        left -= count
        if left < 0:
            raise BrokenImage(f"the heic image has more than {MAX_PARAMETERS} parameter sets")
        for _ in range(count):
            (length,) = struct.unpack_from(">H", configuration, at)
            yield kind, configuration[at + 2 : at + 2 + length]
            at += 2 + length


def _size(unit: bytes) -> tuple[int, int]:
    """The coded (width, height), from a sequence parameter set (H.265, 7.3.2.2)."""
    bits = Bits(unit[:256].replace(b"\0\0\3", b"\0\0"))  # without emulation prevention
    bits.skip(16 + 4)  # the unit's header, the number of the video parameter set
    layers = bits.read(3)
    bits.skip(1 + 96)  # nesting, profile, level
    present = [bits.read(2) for _ in range(layers)]
    bits.skip(2 * (8 - layers) if layers else 0)
    for flags in present:
        bits.skip((88 if flags & 2 else 0) + (8 if flags & 1 else 0))
    bits.read_exponential()  # its number
    if bits.read_exponential() == 3:  # the chroma format
        bits.skip(1)
    return bits.read_exponential(), bits.read_exponential()
