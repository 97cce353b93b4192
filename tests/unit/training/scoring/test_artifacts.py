import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.tools.generated import planes
from training.scoring.artifacts import LIMITS, measure_artifacts, within_limits

HEIGHT, WIDTH = 160, 192
SKY = 80  # rows of the photo that are flat


def strokes(seed: int) -> Tensor:
    noise = torch.randn(1, 3, HEIGHT + 4, WIDTH + 4, generator=torch.Generator().manual_seed(seed))
    return 0.3 * F.avg_pool2d(noise, 5, stride=1)


@pytest.fixture
def photo() -> Tensor:
    photo = planes(1, HEIGHT, WIDTH)
    photo[:, :, :SKY] = 0.6
    return photo


@pytest.fixture
def painting() -> Tensor:
    return (planes(1, HEIGHT, WIDTH, seed=9) + strokes(9)).clamp(0, 1)


@pytest.fixture
def pastiche(photo: Tensor) -> Tensor:
    # The photo in other colours, with strokes.
    return (0.15 + 0.7 * photo[:, [2, 0, 1]] + strokes(1)).clamp(0, 1)


def rounded(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize("name", LIMITS)
def test_a_good_picture_is_within_the_limits(
    name: str, pastiche: Tensor, photo: Tensor, painting: Tensor
) -> None:
    found = measure_artifacts(rounded(pastiche), photo, painting)
    assert found.keys() == LIMITS.keys()
    assert math.isfinite(found[name])
    assert within_limits(name, found[name])


def grid(period: int) -> Callable[[Tensor], Tensor]:
    def spoil(picture: Tensor) -> Tensor:
        waves = [torch.arange(side) % period < period // 2 for side in (HEIGHT, WIDTH)]
        return picture + 0.04 * (waves[0][:, None] ^ waves[1])

    return spoil


def lines(picture: Tensor) -> Tensor:
    return picture + 0.03 * (torch.arange(WIDTH) % 2)


def stamped(picture: Tensor) -> Tensor:
    spoilt = picture.clone()
    for top, left in torch.randint(15, (60, 2), generator=torch.Generator().manual_seed(5)) * 8:
        spoilt[..., top + 2 : top + 6, left + 2 : left + 6] += 0.4
    return spoilt


def banded(band: int, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def spoil(picture: Tensor) -> Tensor:
        spoilt = change(picture)
        inside = slice(band, -band)
        spoilt[..., inside, inside] = picture[..., inside, inside]
        return spoilt

    return spoil


def blurred(picture: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(picture, (7, 7, 7, 7), "reflect"), 15, stride=1)


def noisy(picture: Tensor) -> Tensor:
    return picture + 0.3 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(3))


def blotchy(picture: Tensor) -> Tensor:
    spoilt = picture.clone()
    spoilt[:, :, :SKY] = planes(1, SKY, WIDTH, seed=4).round()
    return spoilt


def smooth(picture: Tensor) -> Tensor:
    spoilt = picture.clone()
    spoilt[:, :, :SKY] = 0.5 + 0.05 * (picture[:, :, :SKY] - 0.5)
    return spoilt


def dead(picture: Tensor) -> Tensor:
    spoilt = picture.clone()
    spoilt[..., 117:133, 51:67] = 0.2
    return spoilt


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param("checkerboard", grid(2), id="a checkerboard of period 2"),
        pytest.param("checkerboard", grid(4), id="a checkerboard of period 4"),
        pytest.param("checkerboard", lines, id="every other column brighter"),
        pytest.param("blocking", stamped, id="stamps in its blocks"),
        pytest.param("border_error", banded(8, lambda x: 0.5 * x), id="a darkened border"),
        pytest.param("border_error", banded(6, lambda x: x + 0.4), id="a halo"),
        pytest.param("border_variance", banded(16, blurred), id="a border without strokes"),
        pytest.param("border_variance", banded(8, noisy), id="a noisy border"),
        pytest.param("flat_deviation", blotchy, id="a blotchy sky"),
        pytest.param("flat_deviation", smooth, id="a sky without strokes"),
        pytest.param("dead_blocks", dead, id="one dead patch of 16x16"),
    ],
)
def test_a_degraded_picture_exceeds_the_limits(
    name: str,
    spoil: Callable[[Tensor], Tensor],
    pastiche: Tensor,
    photo: Tensor,
    painting: Tensor,
) -> None:
    found = measure_artifacts(rounded(spoil(pastiche)), photo, painting)
    assert not within_limits(name, found[name]), found


def test_a_grid_that_the_painting_also_has_is_within_the_limits(
    pastiche: Tensor, photo: Tensor, painting: Tensor
) -> None:
    both = measure_artifacts(rounded(lines(pastiche)), photo, rounded(lines(painting)))
    assert within_limits("checkerboard", both["checkerboard"])


def test_fine_grain_without_a_grid_is_within_the_limits_for_a_soft_painting(
    photo: Tensor, painting: Tensor
) -> None:
    soft = F.interpolate(painting, scale_factor=0.5, mode="bicubic", antialias=True)
    soft = F.interpolate(soft, scale_factor=2, mode="bicubic")
    found = measure_artifacts(rounded(noisy(photo)), photo, rounded(soft))
    assert found["checkerboard"] < 1.5


def test_another_palette_is_not_a_border_error(
    pastiche: Tensor, photo: Tensor, painting: Tensor
) -> None:
    # Bright inside and dark around, so that the negative is far off around only.
    photo = 0.4 * photo
    photo[..., 24:-24, 24:-24] += 0.5
    texture = strokes(1)
    alike = measure_artifacts(photo + texture, photo, painting)["border_error"]
    negative = measure_artifacts(1 - photo[:, [1, 2, 0]] - texture, photo, painting)["border_error"]
    assert alike == pytest.approx(negative, rel=0.05)
    assert within_limits("border_error", negative)


def test_a_patch_that_varies_in_one_colour_is_not_dead(
    pastiche: Tensor, photo: Tensor, painting: Tensor
) -> None:
    pastiche[:, 0] = 1
    assert measure_artifacts(pastiche, photo, painting)["dead_blocks"] == 0


def test_a_patch_that_is_constant_in_the_photo_is_not_dead(
    pastiche: Tensor, photo: Tensor, painting: Tensor
) -> None:
    assert measure_artifacts(dead(pastiche), dead(photo), painting)["dead_blocks"] == 0


def test_an_undefined_measure_is_within_the_limits(pastiche: Tensor, painting: Tensor) -> None:
    found = measure_artifacts(pastiche, strokes(5) + 0.5, painting)["flat_deviation"]
    assert math.isnan(found)
    assert within_limits("flat_deviation", found)
