import pytest
import torch

from training.fit.adversarial.hinge import discriminator_loss, generator_loss


def test_the_losses_are_those_computed_by_hand() -> None:
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 0.5]])
    # real: (0 + 0.5) / 2; fake: (0 + 1.5) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(0.25 + 0.75)
    assert generator_loss(fake).item() == pytest.approx(1.25)
