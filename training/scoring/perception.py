"""Content and style errors of a picture under one loss network.

Lower content error means that the photograph is easier to recognise. Lower style error means that
textures and colours are closer to the painting's. Pictures are float32 [1, 3, H, W] in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.fit.features import LossNetwork
from training.fit.losses import gram_matrix, relative_error

CONTENT_LAYERS = ("relu2_2", "relu3_3")
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
LAYERS = tuple(sorted({*CONTENT_LAYERS, *STYLE_LAYERS}))


@dataclass(frozen=True)
class PerceptualErrors:
    """Squared distances relative to the squared norm of the target; 0 is identical."""

    content: Mapping[str, float]  # by layer
    style: float  # mean over STYLE_LAYERS


@torch.no_grad()
def content_features(network: LossNetwork, photo: Tensor) -> dict[str, Tensor]:
    """The photograph's features at CONTENT_LAYERS. Raises LossNetworkError if one is missing."""
    return network(photo, CONTENT_LAYERS)  # type: ignore[no-any-return]


@torch.no_grad()
def style_grams(network: LossNetwork, painting: Tensor) -> dict[str, Tensor]:
    """The painting's Gram matrices at STYLE_LAYERS. Raises LossNetworkError if one is missing."""
    features = network(painting, STYLE_LAYERS)
    return {name: gram_matrix(features[name]) for name in STYLE_LAYERS}


@torch.no_grad()
def perceptual_errors(
    network: LossNetwork,
    pastiche: Tensor,
    content: Mapping[str, Tensor],
    grams: Mapping[str, Tensor],
) -> PerceptualErrors:
    """Errors of a pastiche against a photograph of the same size and a painting of any size.

    content: from content_features; grams: from style_grams, of the same network.
    """
    features = network(pastiche, LAYERS)
    style = [relative_error(gram_matrix(features[name]), grams[name]) for name in STYLE_LAYERS]
    return PerceptualErrors(
        {name: float(relative_error(features[name], content[name])) for name in CONTENT_LAYERS},
        float(torch.stack(style).mean()),
    )
