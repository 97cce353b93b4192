"""Hatch: a fine regular pattern that covers flat regions where the photograph has nothing.

A pattern shows as a peak in the spectrum. The spectrum of a region without one falls smoothly with
frequency, whatever its contrast, so a peak is measured against a straight line in log-log space.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.fit.losses import ROUNDING, TILE, grey, tiles_of

LIMIT = 2.3  # between published networks, at most 2.1, and pictures with visible hatch, from 2.4
FLAT = 0.02  # standard deviation of a tile of the photograph, of [0, 1]
STEP = 8  # pixels between tiles
FEWEST_TILES = 64  # fewer give a noisy spectrum
PERIODS = (5.0, 8.0)  # pixels, of a hatch
AROUND = (3.5, 12.0)  # pixels, to which the line is fitted


@dataclass(frozen=True)
class Spectrum:
    """The sum of the logarithms of the power spectra of some tiles, [TILE, TILE]."""

    log_power: Tensor
    tiles: int

    def __add__(self, other: "Spectrum") -> "Spectrum":
        return Spectrum(self.log_power + other.log_power, self.tiles + other.tiles)


def flat_spectrum(pastiche: Tensor, photo: Tensor) -> Spectrum:
    """Of the tiles of the pastiche in which the photograph is flat.

    Both are float32 [1, 3, H, W] in [0, 1], of one shape, with sides of at least TILE pixels.
    """
    flat = _tiles(photo).std((1, 2), correction=0) < FLAT
    return _spectrum(_tiles(pastiche)[flat])


def whole_spectrum(painting: Tensor) -> Spectrum:
    """Of all tiles of a painting, float32 [1, 3, H, W] in [0, 1]."""
    return _spectrum(_tiles(painting))


def hatch(pastiche: Spectrum, painting: Spectrum) -> float:
    """The highest peak at PERIODS, as a multiple of the painting's; NaN below FEWEST_TILES.

    Add up the spectra of several pictures before you call it: a pattern is in all of them at the
    same frequency, other things are not.
    """
    if min(pastiche.tiles, painting.tiles) < FEWEST_TILES:
        return math.nan
    return math.exp(_peak(pastiche) - _peak(painting))


def _tiles(picture: Tensor) -> Tensor:
    return tiles_of(grey(picture), TILE, STEP)[0]


def _spectrum(tiles: Tensor) -> Spectrum:
    window = torch.hann_window(TILE, periodic=True)
    tiles = (tiles - tiles.mean((1, 2), keepdim=True)) * window[:, None] * window
    power = torch.fft.fft2(tiles).abs().square() + ROUNDING * window.square().sum() ** 2
    return Spectrum(power.log().sum(0), len(tiles))


def _peak(spectrum: Spectrum) -> float:
    """How far the log power rises above the line at PERIODS."""
    power = spectrum.log_power / spectrum.tiles
    axis = torch.fft.fftfreq(TILE)
    frequency = (axis[:, None].square() + axis.square()).sqrt()
    around = _between(frequency, AROUND)
    line = torch.stack([torch.ones(int(around.sum())), frequency[around].log()], dim=1)
    offset, slope = torch.linalg.lstsq(line, power[around][:, None]).solution.flatten()
    band = _between(frequency, PERIODS)
    return float((power[band] - offset - slope * frequency[band].log()).max())


def _between(frequency: Tensor, periods: tuple[float, float]) -> Tensor:
    shortest, longest = periods
    return (frequency >= 1 / longest - 1e-6) & (frequency <= 1 / shortest + 1e-6)
