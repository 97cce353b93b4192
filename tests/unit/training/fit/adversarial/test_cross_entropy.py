import math

import pytest
import torch

from training.fit.adversarial.cross_entropy import discriminator_loss, generator_loss


def test_the_losses_are_those_computed_by_hand() -> None:
    real, fake = torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, -math.log(3)])
    # sigmoid(log 3) = 3/4, so the losses are -log(1/2) and -log(3/4); the same for the fakes.
    expected = math.log(2) + math.log(4 / 3)
    assert discriminator_loss(real, fake).item() == pytest.approx(expected)
    # sigmoid(-log 3) = 1/4
    assert generator_loss(fake).item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_a_generator_that_loses_by_far_still_has_a_gradient() -> None:
    scores = torch.tensor([-50.0], requires_grad=True)
    generator_loss(scores).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.item() == pytest.approx(-1)
