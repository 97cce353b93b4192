import math

import pytest
import torch
from torch import Tensor

from training.scoring.hatch import FEWEST_TILES, LIMIT, flat_spectrum, hatch, whole_spectrum

SIDE = 192


def fractal(seed: int, contrast: float = 0.15, slope: float = 1.5) -> Tensor:
    """A picture whose spectrum falls as that of paintings does, float32 [1, 3, SIDE, SIDE]."""
    rng = torch.Generator().manual_seed(seed)
    axis = torch.fft.fftfreq(SIDE)
    frequency = (axis[:, None].square() + axis.square()).sqrt().clamp_min(1 / SIDE)
    noise = torch.fft.fft2(torch.randn(SIDE, SIDE, generator=rng))
    plane = torch.fft.ifft2(noise / frequency**slope).real
    plane = 0.5 + contrast * plane / plane.std()
    picture: Tensor = plane.clamp(0, 1).expand(1, 3, SIDE, SIDE)
    return picture


def lines(period: float, amplitude: float, angle: float = 0.6) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period
    return amplitude * phase.sin()


FLAT = torch.full((1, 3, SIDE, SIDE), 0.5)
PAINTING = whole_spectrum(fractal(0))


def found(pastiche: Tensor, photo: Tensor = FLAT) -> float:
    return hatch(flat_spectrum(pastiche, photo), PAINTING)


@pytest.mark.parametrize("contrast", [0.03, 0.15])
def test_strokes_of_any_contrast_are_no_hatch(contrast: float) -> None:
    assert found(fractal(1, contrast)) < 0.7 * LIMIT


@pytest.mark.parametrize("period", [5.2, 6.4, 7.8])
def test_lines_over_the_strokes_are_a_hatch(period: float) -> None:
    assert found(fractal(1) + lines(period, 0.02)) > LIMIT


@pytest.mark.parametrize("period", [2.5, 24.0])
def test_lines_of_other_periods_are_no_hatch(period: float) -> None:
    assert found(fractal(1) + lines(period, 0.02)) < LIMIT


def test_lines_far_below_eight_bits_are_no_hatch() -> None:
    assert found(FLAT + lines(6.4, 0.02 / 255)) < LIMIT


def test_a_painting_that_is_hatched_itself_allows_a_hatch() -> None:
    hatched = whole_spectrum(fractal(0) + lines(6.4, 0.02))
    assert hatch(flat_spectrum(fractal(1) + lines(6.4, 0.02), FLAT), hatched) < LIMIT


def test_only_flat_regions_of_the_photograph_count() -> None:
    photo = FLAT.clone()
    photo[..., : SIDE // 2] = fractal(2)[..., : SIDE // 2]
    left, right = fractal(1).clone(), fractal(1).clone()
    hatched = fractal(1) + lines(6.4, 0.02)
    left[..., : SIDE // 2] = hatched[..., : SIDE // 2]
    right[..., SIDE // 2 :] = hatched[..., SIDE // 2 :]
    assert found(left, photo) < LIMIT < found(right, photo)


def test_a_photograph_without_flat_regions_says_nothing() -> None:
    assert math.isnan(found(fractal(1) + lines(6.4, 0.02), fractal(2)))


def test_spectra_of_several_pictures_add_up() -> None:
    photo = FLAT.clone()
    photo[..., 48:] = fractal(2)[..., 48:]
    few = flat_spectrum(fractal(1) + lines(6.4, 0.02), photo)
    assert 0 < few.tiles < FEWEST_TILES
    assert math.isnan(hatch(few, PAINTING))
    assert hatch(few + few, PAINTING) > LIMIT
