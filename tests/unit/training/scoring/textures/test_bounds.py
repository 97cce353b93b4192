import pytest
import torch
from torch import Tensor

from training.scoring.textures.bounds import Bounded, bounded, shuffled_pixels


def difference_of_means(one: Tensor, other: Tensor) -> float:
    assert len(one) == len(other) == 20
    return float((one.mean(0) - other.mean(0)).abs().mean())


def samples(count: int, mean: float, seed: int) -> Tensor:
    return mean + torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def test_a_value_lies_between_its_floor_and_its_ceiling() -> None:
    rng = torch.Generator().manual_seed(0)
    sets = samples(30, 2, seed=1), samples(40, 0, seed=2), samples(50, 8, seed=3)
    found = bounded(difference_of_means, *sets, rng)
    assert found.floor < 0.6
    assert found.value == pytest.approx(2, abs=0.5)
    assert found.ceiling == pytest.approx(8, abs=0.5)


def test_the_share_is_0_at_the_floor_and_1_at_the_ceiling() -> None:
    shares = [Bounded(value, 1, 5).share for value in (1, 2, 5)]
    assert shares == [0, 0.25, 1]


def test_the_halves_of_a_painting_share_no_patch() -> None:
    painting = torch.arange(40.0)[:, None]
    seen: list[tuple[set[float], set[float]]] = []

    def record(one: Tensor, other: Tensor) -> float:
        seen.append((set(one[:, 0].tolist()), set(other[:, 0].tolist())))
        return 0.0

    bounded(record, painting + 100, painting, painting - 100, torch.Generator().manual_seed(0))
    halves = seen[1::3]  # each split measures the texture, the other half and the noise
    assert halves
    for other, target in halves:
        assert other | target == set(range(40))
        assert not other & target


def test_shuffled_pixels_keep_the_palette_and_nothing_else() -> None:
    picture = torch.linspace(0, 1, 3 * 24 * 32).view(1, 3, 24, 32)
    noise = shuffled_pixels(picture, torch.Generator().manual_seed(0))
    assert noise.shape == picture.shape
    pixels, moved = (p.flatten(2)[0].T.tolist() for p in (picture, noise))
    assert pixels != moved
    assert sorted(pixels) == sorted(moved)
