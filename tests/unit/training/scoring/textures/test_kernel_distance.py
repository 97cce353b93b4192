import pytest
import torch

from tests.tools.generated import loss_weights, planes
from training.fit.features import LossNetwork
from training.scoring.textures.kernel_distance import (
    CROP,
    crop_features,
    descriptors,
    kernel_distance,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_distance_is_the_unbiased_estimate_with_a_cubic_kernel() -> None:
    one, other = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [2.0, 2.0]])
    # Pairs: (0/2 + 1)^3 = 1 within the first, (4/2 + 1)^3 = 27 within the second. Across:
    # (2/2 + 1)^3 = 8 twice, (0 + 1)^3 = 1 and (4/2 + 1)^3 = 27, with a mean of 11.
    assert kernel_distance(one, other) == pytest.approx(1 + 27 - 2 * 11)


def test_samples_of_one_distribution_are_at_0_on_average() -> None:
    rng = torch.Generator().manual_seed(0)

    def mean_distance(shift: float) -> float:
        pairs = [torch.randn(2, 20, 8, generator=rng) for _ in range(200)]
        return sum(kernel_distance(one, other + shift) for one, other in pairs) / 200

    assert mean_distance(0) == pytest.approx(0, abs=0.05)
    assert mean_distance(0.5) > 0.3


def test_features_are_means_over_squares_that_do_not_overlap() -> None:
    network = LossNetwork(loss_weights())
    picture = planes(1, 2 * CROP + 5, 3 * CROP)
    found = crop_features(network, picture, ["relu1_1", "relu2_1"])
    assert {name: value.shape for name, value in found.items()} == {
        "relu1_1": (6, 8),
        "relu2_1": (6, 8),
    }
    crop = picture[..., CROP : 2 * CROP, 2 * CROP : 3 * CROP]
    expected = network(crop, ["relu1_1"])["relu1_1"].mean((2, 3))[0]
    assert torch.allclose(found["relu1_1"][5], expected, atol=1e-5)


def test_every_layer_has_the_same_say() -> None:
    rng = torch.Generator().manual_seed(0)
    painting = {"a": torch.rand(9, 4, generator=rng), "b": 1000 * torch.rand(9, 4, generator=rng)}
    found = descriptors(painting, painting)
    assert found.shape == (9, 8)
    for layer in torch.split(found, 4, dim=1):
        assert float(layer.square().mean()) == pytest.approx(1, rel=1e-5)
