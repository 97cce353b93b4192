from pathlib import Path

import pytest
import torch

from tests.tools.fits import texture_recipe
from tests.tools.generated import planes
from training.fit.texture.growing import phase_of, reduced

PHASES = (
    "phases=[{steps=2, size=8}, {steps=4, size=16, batch=3}, {steps=1, size=16}, "
    "{steps=4, size=32}]"
)


def test_each_phase_fades_its_resolution_in(texture_place: Path) -> None:
    recipe = texture_recipe(texture_place, "discriminator_widths=[4, 4, 4]", PHASES, "fade=0.75")
    steps = [phase_of(recipe, step) for step in range(12)]
    assert [phase.size for phase, _ in steps] == [8] * 2 + [16] * 5 + [32] * 5
    assert steps[2][0].batch == 3
    thirds = [pytest.approx(2 / 3), pytest.approx(1 / 3), 0]
    faded = [reduction for _, reduction in steps]
    assert faded[:2] == [2, 2]
    assert faded[2:6] == [pytest.approx(1 + 2 / 3), pytest.approx(1 + 1 / 3), 1, 1]
    assert faded[6] == 1  # the same size again: nothing to fade in
    assert faded[7:] == [*thirds, 0, 0]


def test_growing_can_be_off(texture_place: Path) -> None:
    recipe = texture_recipe(texture_place, "phases=[{steps=5, size=32}]")
    assert [phase_of(recipe, step)[1] for step in range(5)] == [0] * 5


def test_real_patches_are_reduced_as_generated_ones_are() -> None:
    image = planes(1, 32, 32)
    assert torch.equal(reduced(image, 0.0), image)
    half, quarter = (torch.nn.functional.avg_pool2d(image, n) for n in (2, 4))
    torch.testing.assert_close(reduced(image, 2.0), quarter)
    doubled = quarter.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(reduced(image, 1.25), 0.75 * half + 0.25 * doubled)
