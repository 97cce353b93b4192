"""Perceptual losses, normalised so that one set of weights holds across loss networks.

Content and style after Gatys et al. (arXiv:1508.06576) and Johnson et al. (arXiv:1603.08155).
Departure from both: every term is divided by the mean square of its target, so that it counts
relative error and does not depend on how large a loss network's features happen to be.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.features import LossNetwork

PERIOD = 4  # pixels; the transform network works at a quarter of the resolution
CELL = 8  # periods


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations [N, C, C] of features [N, C, h, w], divided by C h w."""
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    """Squared distance over the target's squared norm, per sample: [N] of two [N, ...]."""
    value, target = value.float().flatten(1), target.float().flatten(1)
    return (value - target).square().sum(1) / target.square().sum(1).clamp_min(1e-12)


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, per sample: [N] of image [N, C, H, W]."""
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().flatten(1).mean(1)
    across = (image[..., 1:] - image[..., :-1]).abs().flatten(1).mean(1)
    return down + across


def grid_energy(image: Tensor) -> Tensor:
    """Energy locked to the grid of PERIOD pixels, per sample: [N] of image [N, C, H, W].

    How much the means of the PERIOD x PERIOD phases differ within cells of CELL periods. Strokes
    average out; what stays is the weave that upsampling prints into flat areas.
    """
    height, width = (side // PERIOD * PERIOD for side in image.shape[-2:])
    phases = F.pixel_unshuffle(image[..., :height, :width].float(), PERIOD)
    n, _, h, w = phases.shape
    cell = min(CELL, h, w)
    means = F.avg_pool2d(phases, cell).reshape(n, image.shape[1], PERIOD**2, -1)
    return means.var(dim=2, correction=0).flatten(1).mean(1)


class ContentLoss(nn.Module):
    """Relative error of the features against those of the photograph, weighted over layers."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """weights: by layer name; they are scaled to sum to 1."""
        super().__init__()
        self.weights = _normalised(weights)

    def forward(self, features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The loss per sample, [N]."""
        return _weighted(
            [w * relative_error(features[name], target[name]) for name, w in self.weights.items()]
        )


class StyleLoss(nn.Module):
    """Relative error of the Gram matrices against those of paintings, weighted over layers."""

    def __init__(
        self, weights: Mapping[str, float], paintings: Sequence[Mapping[str, Tensor]]
    ) -> None:
        """weights: by layer name, scaled to sum to 1. paintings: features [1, C, h, w] of each."""
        super().__init__()
        self.weights = _normalised(weights)
        for name in self.weights:
            grams = torch.cat([gram_matrix(features[name]) for features in paintings])
            self.register_buffer(f"gram_{name}", grams)

    def forward(self, features: Mapping[str, Tensor], style_index: Tensor) -> Tensor:
        """The loss per sample, [N], against the paintings numbered by style_index, int64 [N]."""
        return _weighted(
            [
                w * relative_error(gram_matrix(features[name]), self._gram(name)[style_index])
                for name, w in self.weights.items()
            ]
        )

    def _gram(self, name: str) -> Tensor:
        return self.get_buffer(f"gram_{name}")


class PerceptualLoss(nn.Module):
    """Content, style and total variation of a batch of pastiches under one loss network."""

    def __init__(
        self,
        network: LossNetwork,
        paintings: Sequence[Tensor],
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
    ) -> None:
        """paintings: one image [1, 3, H, W] in [0, 1] for each style."""
        super().__init__()
        self.network = network
        self.content = ContentLoss(content_layers)
        self.layers = sorted({*content_layers, *style_layers})
        with torch.no_grad():
            # All layers, so that one that the network lacks is told here and not in the first step.
            features = [network(painting, self.layers) for painting in paintings]
        self.style = StyleLoss(style_layers, features)

    def forward(
        self, pastiche: Tensor, photo: Tensor, style_index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Unweighted (content, style, total variation) per sample, [N] each.

        pastiche and photo: [N, 3, H, W] in [0, 1]; style_index: int64 [N].
        """
        with torch.no_grad():
            target = self.network(photo, list(self.content.weights))
        features = self.network(pastiche, self.layers)
        return (
            self.content(features, target),
            self.style(features, style_index),
            total_variation(pastiche),
        )


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError("layer weights must not be negative and must not all be zero")
    return {name: weight / total for name, weight in weights.items() if weight}


def _weighted(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(0)
