import pytest
import torch
import torch.nn.functional as F

from tests.conftest import make_recipe
from tests.tools.generated import planes
from training.fit.adversarial.adversary import Adversary
from training.fit.adversarial.loss import LossName

pytestmark = pytest.mark.usefixtures("one_thread")
INDEX = torch.tensor([0, 2])


def adversary(loss: LossName = "hinge", scales: int = 2) -> Adversary:
    torch.manual_seed(0)
    changes = {
        "adversarial_weight": 1.0,
        "adversarial_loss": loss,
        "discriminator_widths": [4, 6],
        "discriminator_scales": scales,
    }
    return Adversary(make_recipe().model_copy(update=changes))


@torch.no_grad()
def test_each_scale_sees_half_of_the_pixels_of_the_one_before() -> None:
    made, pictures = adversary(scales=3), planes(2, 32, 48)
    scores = made(pictures, INDEX)
    assert [tuple(s.shape) for s in scores] == [(2, 8, 12), (2, 4, 6), (2, 2, 3)]
    expected = made.discriminators[1](F.avg_pool2d(pictures, 2), INDEX)
    assert torch.allclose(scores[1], expected)


@torch.no_grad()
def test_losses_are_means_over_the_scales() -> None:
    made, real, fake = adversary(), planes(2, 32, 32), planes(2, 32, 32, seed=5)
    pairs = list(zip(made(real, INDEX), made(fake, INDEX), strict=True))
    expected = [float(F.relu(1 - r).mean() + F.relu(1 + f).mean()) for r, f in pairs]
    loss, penalty = made.discriminator_loss(real, fake, INDEX, torch.rand(2))
    assert float(loss) == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert penalty == 0
    by_sample = made.generator_loss(fake, INDEX)
    assert by_sample.shape == (2,)
    scores = [f[1].mean() for _, f in pairs]
    assert float(by_sample[1]) == pytest.approx(-float(sum(scores)) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "wasserstein", "hinge"])
def test_each_side_gets_only_its_own_gradient(loss: LossName) -> None:
    made, real = adversary(loss), planes(2, 32, 32)
    fake = planes(2, 32, 32, seed=5).requires_grad_()
    made.generator_loss(fake, INDEX).sum().backward()  # type: ignore[no-untyped-call]
    assert fake.grad is not None
    assert fake.grad.abs().max() > 0
    assert all(p.grad is None for p in made.parameters())

    fake.grad = None
    found, penalty = made.discriminator_loss(real, fake, INDEX, torch.rand(2))
    (found + made.penalty * penalty).backward()  # type: ignore[no-untyped-call]
    assert fake.grad is None
    scores = [p.grad for name, p in made.named_parameters() if ".score." in name]
    assert len(scores) > 2
    assert all(gradient is not None for gradient in scores)
    assert (made.penalty > 0) == (float(penalty.detach()) > 0) == (loss == "wasserstein")


def test_crops_may_be_smaller_than_the_pastiches() -> None:
    made = adversary("wasserstein")
    loss, penalty = made.discriminator_loss(
        planes(2, 24, 24), planes(2, 32, 32), INDEX, torch.rand(2)
    )
    assert torch.isfinite(loss + penalty)


def test_only_the_update_moves_the_spectral_norms() -> None:
    made, pictures = adversary(), planes(2, 32, 32)

    def buffers() -> list[torch.Tensor]:
        return [buffer.clone() for buffer in made.buffers()]

    before = buffers()
    made.discriminator_loss(pictures, pictures, INDEX, torch.rand(2))
    made.generator_loss(pictures, INDEX)
    assert all(map(torch.equal, before, buffers()))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.update_spectral_norms()
    assert not all(map(torch.equal, before, buffers()))
