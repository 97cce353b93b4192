import pytest
import torch
from torch import Tensor, nn

from training.fit.networks.discriminator import Discriminator


def discriminator(*, spectral: bool = False) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(2, (6, 8), spectral=spectral)


def spectral_norm_of(layer: nn.Module) -> float:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


@torch.no_grad()
def test_there_is_a_score_for_each_position() -> None:
    network = discriminator()
    scores = network(torch.rand(3, 3, 16, 24), torch.tensor([0, 1, 1]))
    assert scores.shape == (3, 4, 6)
    assert network(torch.rand(3, 3, 8, 12), torch.tensor([0, 1, 1]), 1.0).shape == (3, 4, 6)


@torch.no_grad()
def test_the_same_picture_scores_differently_for_another_painting() -> None:
    picture = torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    one, other = discriminator()(picture, torch.tensor([0, 1]))
    assert (one - other).abs().min() > 1e-4


@torch.no_grad()
def test_an_entry_is_faded_in() -> None:
    network, painting = discriminator(), torch.tensor([0])
    picture = torch.rand(1, 3, 16, 16)
    pooled = torch.nn.functional.avg_pool2d(picture, 2)
    coarse, fine = network(pooled, painting, 1.0), network(picture, painting)
    blends = [network(picture, painting, share) for share in (0.001, 0.999)]
    torch.testing.assert_close(blends[0], fine, rtol=0, atol=1e-2)
    torch.testing.assert_close(blends[1], coarse, rtol=0, atol=1e-2)
    assert (coarse - fine).abs().max() > 0.05


def test_spectral_norm_bounds_every_layer() -> None:
    network = discriminator(spectral=True)
    with torch.no_grad():
        for layer in (*network.blocks, network.last):
            original = layer.parametrizations.weight.original
            original.add_(torch.randn_like(original))
    for _ in range(30):
        network.update_spectral_norms()
    for layer in (*network.blocks, network.last):
        assert spectral_norm_of(layer) == pytest.approx(1, abs=0.05)
    assert spectral_norm_of(discriminator().last) > 1.2  # control


def test_looking_at_a_picture_changes_nothing() -> None:
    network = discriminator(spectral=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(1, 3, 16, 16), torch.tensor([0]))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_discriminator_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a discriminator needs a painting"):
        Discriminator(0)
