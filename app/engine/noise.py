"""The noise from which generators make textures: a pure function of a seed."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Noise = NDArray[np.float32]
Wave = tuple[float, float, float]
"""Cycles per cell down and across, and the phase in radians."""

# Streams of random numbers. They never overlap, as each has keys of its own.
_LOCAL, _GLOBAL = 0, 1


def noise_map(
    seed: int,
    height: int,
    width: int,
    *,
    local: int,
    global_: int = 0,
    waves: Sequence[Wave] = (),
    variation: float = 0.0,
    margin: int = 0,
    tileable: bool = False,
) -> Noise:
    """Return the noise of a picture of height x width cells, float32 [Z, h, w].

    h = height + margin and w = width + margin; Z = local + global_ + the number of waves. The
    values depend on the arguments alone and lie in [-1, 1].

    seed: from 0 to 2**64 - 1; the local channels, with a value per cell, are drawn from it.
    global_: channels that have the same value in all cells; they depend on `variation` alone, a
    number from 0. Each whole number has values of its own, and between two of them the values are
    interpolated. margin: additional cells that the generator's convolutions consume. tileable:
    repeat the height x width cells in the margin, and round the waves' frequencies so that each
    wave repeats with the picture. Then the picture continues seamlessly at its opposite edge.
    """
    rows, columns = (height, width) if tileable else (height + margin, width + margin)
    drawn = _uniform(seed, _LOCAL, rows * columns * local).reshape(rows, columns, local)
    constant = np.broadcast_to(_global(variation, global_), (rows, columns, global_))
    planes = [drawn.transpose(2, 0, 1), constant.transpose(2, 0, 1)]
    planes += [_wave(wave, rows, columns, tileable)[None] for wave in waves]
    noise = np.concatenate(planes)
    if tileable:
        noise = np.pad(noise, ((0, 0), (0, margin), (0, margin)), mode="wrap")
    return noise


def _uniform(key: int, stream: int, count: int) -> Noise:
    # NumPy keeps the raw words of a bit generator the same in all versions, but not the methods
    # of Generator. 24 bits are what a float32 holds exactly.
    words = np.random.Philox(key=np.array([key, stream], np.uint64)).random_raw(count)
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def _global(variation: float, count: int) -> Noise:
    anchor = math.floor(variation)
    first, second = (_uniform(anchor + i, _GLOBAL, count) for i in (0, 1))
    return first + np.float32(variation - anchor) * (second - first)


def _wave(wave: Wave, rows: int, columns: int, tileable: bool) -> Noise:
    down, across, phase = wave
    if tileable:
        down, across = round(down * rows) / rows, round(across * columns) / columns
    y, x = np.arange(rows)[:, None], np.arange(columns)[None]
    return np.sin(2 * math.pi * (down * y + across * x) + phase).astype(np.float32)
