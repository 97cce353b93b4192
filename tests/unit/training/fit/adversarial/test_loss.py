import pytest
import torch
from torch import Tensor

from training.fit.adversarial.loss import LOSSES, LossName


@pytest.mark.parametrize("name", LOSSES)
def test_both_sides_improve_by_moving_their_scores(name: LossName) -> None:
    loss = LOSSES[name]
    zero, up = torch.zeros(2, 3, 3), torch.full((2, 3, 3), 0.5)
    draw = loss.discriminator(zero, zero)
    assert loss.discriminator(up, -up) < draw < loss.discriminator(-up, up)
    assert loss.generator(up) < loss.generator(zero)


@pytest.mark.parametrize("name", LOSSES)
def test_only_a_discriminator_far_ahead_has_won(name: LossName) -> None:
    def at(gap: float) -> Tensor:
        return LOSSES[name].discriminator(torch.full((2,), gap), torch.full((2,), -gap))

    assert at(0.0) > LOSSES[name].won
    assert at(0.5) > LOSSES[name].won
    assert at(600.0) < LOSSES[name].won
