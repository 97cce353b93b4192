import pytest
import torch
import torch.nn.functional as F

from tests.tools.generated import planes
from training.scoring.textures.sliced_wasserstein import (
    laplacian_pyramid,
    level_count,
    normalised,
    patches,
    random_slices,
    sliced_wasserstein,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_distance_in_one_dimension_is_that_of_the_sorted_values() -> None:
    one, other = torch.tensor([[3.0], [0.0], [1.0]]), torch.tensor([[1.0], [6.0], [2.0]])
    # Sorted, 0 1 3 and 1 2 6 differ by 1, 1 and 3.
    assert sliced_wasserstein(one, other, torch.ones(1, 1)) == pytest.approx(5 / 3)


def test_a_shift_is_as_far_as_its_projections_on_the_slices() -> None:
    one = torch.randn(50, 4, generator=rng())
    shift = torch.tensor([1.0, -2.0, 0.5, 3.0])
    slices = random_slices(4, rng(1))
    expected = float((shift @ slices).abs().mean())
    assert sliced_wasserstein(one, one + shift, slices) == pytest.approx(expected, rel=1e-4)
    assert sliced_wasserstein(one, one[torch.randperm(50)], slices) == 0


def test_a_pyramid_sums_to_its_picture() -> None:
    picture = planes(1, 50, 67)
    whole, *_ = laplacian_pyramid(picture, 1)
    assert torch.equal(whole, picture)
    bands = laplacian_pyramid(picture, 3)
    assert [tuple(band.shape[2:]) for band in bands] == [(50, 67), (25, 34), (13, 17)]
    rebuilt = bands[-1]
    for band in reversed(bands[:-1]):
        rebuilt = band + F.interpolate(rebuilt, band.shape[2:], mode="bilinear")
    assert torch.allclose(rebuilt, picture, atol=1e-6)


def test_stripes_are_in_the_band_of_their_width() -> None:
    def energies(period: int) -> list[float]:
        wave = torch.sin(2 * torch.pi * torch.arange(256) / period)
        bands = laplacian_pyramid(wave.expand(1, 3, 256, 256), 4)[:-1]
        return [float(band.square().mean()) for band in bands]

    fine, coarse = energies(3), energies(16)
    assert fine.index(max(fine)) == 0
    assert coarse.index(max(coarse)) == 2


@pytest.mark.parametrize(("side", "count"), [(63, 1), (64, 1), (127, 1), (128, 2), (512, 4)])
def test_the_smallest_level_has_64_pixels(side: int, count: int) -> None:
    assert level_count(side) == count


def test_patches_tile_the_picture() -> None:
    picture = planes(1, 21, 28)
    found = patches(picture)
    assert found.shape == (12, 3 * 49)
    assert torch.equal(found[5].view(3, 7, 7), picture[0, :, 7:14, 7:14])


def test_patches_are_normalised_by_those_of_the_painting() -> None:
    painting = patches(planes(1, 70, 70))
    own = normalised(painting, painting).view(-1, 3, 49)
    assert torch.allclose(own.mean((0, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(own.std((0, 2)), torch.ones(3), atol=1e-5)
    brighter = normalised(painting + 0.1, painting).view(-1, 3, 49)
    assert (brighter.mean((0, 2)) > 0.1).all()  # a wrong palette counts
