import pytest
import torch
from torch import Tensor

from tests.tools.generated import loss_weights, planes, vgg_weights
from training.fit.features import LossNetwork, LossNetworkError
from training.scoring.perception import (
    CONTENT_LAYERS,
    STYLE_LAYERS,
    PerceptualErrors,
    content_features,
    perceptual_errors,
    style_grams,
)


@pytest.fixture(scope="module")
def network() -> LossNetwork:
    """A VGG-16 of random weights, a sixteenth as wide."""
    return LossNetwork(vgg_weights(), padding="constant")


def errors(
    network: LossNetwork, pastiche: Tensor, photo: Tensor, painting: Tensor
) -> PerceptualErrors:
    return perceptual_errors(
        network, pastiche, content_features(network, photo), style_grams(network, painting)
    )


def test_a_photograph_has_no_content_error_against_itself(network: LossNetwork) -> None:
    photo = planes(1, 48, 64)
    found = errors(network, photo, photo, planes(1, 64, 64, seed=1))
    assert found.content == dict.fromkeys(CONTENT_LAYERS, pytest.approx(0, abs=1e-6))
    assert found.style > 0.01


def test_a_painting_has_no_style_error_against_itself(network: LossNetwork) -> None:
    painting = planes(1, 48, 64)
    found = errors(network, painting, planes(1, 48, 64, seed=1), painting)
    assert found.style == pytest.approx(0, abs=1e-6)
    assert min(found.content.values()) > 0.01


def test_another_picture_has_more_content_error_than_a_noisy_photograph(
    network: LossNetwork,
) -> None:
    photo, painting = planes(1, 48, 64), planes(1, 64, 64, seed=1)
    noise = 0.02 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    near = errors(network, photo + noise, photo, painting)
    far = errors(network, planes(1, 48, 64, seed=2), photo, painting)
    for layer in CONTENT_LAYERS:
        assert near.content[layer] < 0.5 * far.content[layer]


def test_errors_are_relative_to_the_norm_of_the_target(network: LossNetwork) -> None:
    photo, pastiche = planes(1, 48, 64), planes(1, 48, 64, seed=1)
    painting = planes(1, 40, 72, seed=2)
    found = errors(network, pastiche, photo, painting)
    mine, target = network(pastiche, STYLE_LAYERS), network(photo, CONTENT_LAYERS)
    for layer in CONTENT_LAYERS:
        expected = (mine[layer] - target[layer]).square().sum() / target[layer].square().sum()
        assert found.content[layer] == pytest.approx(float(expected), rel=1e-4)
    theirs, terms = network(painting, STYLE_LAYERS), []
    for layer in STYLE_LAYERS:
        grams = []
        for features in (mine[layer][0].flatten(1), theirs[layer][0].flatten(1)):
            grams.append(features @ features.T / features.numel())
        terms.append(float((grams[0] - grams[1]).square().sum() / grams[1].square().sum()))
    assert found.style == pytest.approx(sum(terms) / len(terms), rel=1e-3)


def test_a_network_without_the_layers_is_an_error() -> None:
    shallow = LossNetwork(loss_weights())
    with pytest.raises(
        LossNetworkError, match=r"no layer relu2_2, relu3_3; it has relu1_1, relu2_1"
    ):
        content_features(shallow, planes(1, 32, 32))
