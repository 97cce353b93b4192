import pytest
import torch

from training.fit.adversarial.wasserstein import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)


def test_the_losses_are_those_computed_by_hand() -> None:
    real, fake = torch.tensor([4.0, 1.0]), torch.tensor([-2.0, 1.0])
    assert discriminator_loss(real, fake).item() == -3
    assert generator_loss(fake).item() == 0.5


def test_the_gradient_penalty_is_that_computed_by_hand() -> None:
    # The score is the sum of 3 x: its gradient is 3 at each of four pixels, of norm 6.
    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    linear = gradient_penalty(lambda x: 3 * x.sum((1, 2, 3)), real, fake, torch.rand(2))
    assert linear.item() == pytest.approx(25)
    # The score is the sum of squares: its gradient is 2 x, of norm 4 share at pixels of `share`.
    shares = torch.tensor([0.0, 0.5])
    quadratic = gradient_penalty(lambda x: x.square().sum((1, 2, 3)), real, fake, shares)
    assert quadratic.item() == pytest.approx(((0 - 1) ** 2 + (2 - 1) ** 2) / 2)


def test_a_map_of_scores_counts_by_its_mean() -> None:
    real = torch.zeros(1, 1, 2, 2)
    penalty = gradient_penalty(lambda x: 2 * x[:, 0], real, real, torch.zeros(1))
    assert penalty.item() == pytest.approx(0)  # 2 / 4 at four pixels, of norm 1


def test_the_penalty_has_a_gradient_for_the_discriminator() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    real = torch.zeros(1, 1, 1, 1)
    gradient_penalty(lambda x: weight * x, real, real, torch.zeros(1)).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(2 * (3 - 1))
