"""AV1, the codec of AVIF: open bitstream units (OBUs)."""

from ...errors import BrokenImage
from .bits import Bits

MAX_UNITS = 256  # of a picture or a tile
MAX_LAYERS = 4  # frames of one picture, each of which refines the one before
_SEQUENCE, _FRAME_HEADER, _TILES, _FRAME, _REPEATED_HEADER = 1, 3, 4, 6, 7
_KEPT = {_SEQUENCE, _FRAME_HEADER, _TILES, _FRAME, _REPEATED_HEADER}


def reduced(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """The OBUs that a decoder needs, and the (width, height) that it allocates, pixels.

    Raises BrokenImage; IndexError if the data is truncated.
    """
    kept: list[bytes] = []
    sequences: set[bytes] = set()
    at = frames = 0
    for _ in range(MAX_UNITS):
        if at >= len(data):
            break
        start, header = at, data[at]
        kind, extended, sized = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        at += 1 + extended
        length = len(data) - at
        if sized:
            length, at = _leb128(data, at)
        end = at + length
        if end > len(data):
            raise BrokenImage("the avif image is truncated within its pixels")
        if kind == _SEQUENCE:
            sequences.add(data[at:end])
        frames += kind in (_FRAME_HEADER, _FRAME)
        if kind in _KEPT:
            kept.append(data[start:end])
        at = end
    else:
        raise BrokenImage(f"the avif image has more than {MAX_UNITS:,} units")
    if len(sequences) != 1 or not 1 <= frames <= MAX_LAYERS:
        raise BrokenImage("the avif image has no pixels, or those of several pictures")
    return b"".join(kept), _size(Bits(sequences.pop()))


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number in 7-bit groups from the lowest on, and where it ends."""
    number = 0
    for shift in range(0, 56, 7):
        number |= (data[at] & 127) << shift
        at += 1
        if not data[at - 1] & 128:
            return number, at
    raise BrokenImage("the avif image has a unit of an impossible length")


def _size(bits: Bits) -> tuple[int, int]:
    """The largest (width, height) of a sequence, from its header (AV1 specification, 5.5.1)."""
    bits.skip(4)  # profile, whether it is a still picture
    if bits.read(1):  # a reduced header
        bits.skip(5)
    else:
        _skip_timing(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1


def _skip_timing(bits: Bits) -> None:
    delay = 0
    if bits.read(1):  # timing
        bits.skip(64)
        if bits.read(1):  # equal intervals
            bits.read_exponential()
        if bits.read(1):  # a decoder model
            delay = bits.read(5) + 1
            bits.skip(42)
    delays_follow = bits.read(1)
    for _ in range(bits.read(5) + 1):  # operating points
        bits.skip(12)
        if bits.read(5) > 7:  # level
            bits.skip(1)
        if delay and bits.read(1):
            bits.skip(2 * delay + 1)
        if delays_follow and bits.read(1):
            bits.skip(4)
