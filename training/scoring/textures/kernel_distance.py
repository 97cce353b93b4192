"""Kernel distance: unbiased squared maximum mean discrepancy with a cubic polynomial kernel.

As the kernel inception distance (Binkowski et al., arXiv:1801.01401), on features of the loss
network instead of Inception's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.fit.features import LossNetwork

CROP = 64  # pixels, the side of the squares that features are averaged over
BATCH = 32
LAYERS = ("relu2_1", "relu3_1", "relu4_1")


@torch.no_grad()
def crop_features(
    network: LossNetwork, picture: Tensor, layers: Sequence[str] = LAYERS
) -> dict[str, Tensor]:
    """Return the mean features [N, C] of squares of CROP pixels, without overlap, by layer.

    picture: [1, 3, H, W] in [0, 1], at least CROP on each side. Raises LossNetworkError.
    """
    rows = picture.unfold(2, CROP, CROP).unfold(3, CROP, CROP)
    crops = rows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, CROP, CROP)
    found = [network(batch, layers) for batch in torch.split(crops, BATCH)]
    return {name: torch.cat([f[name].float().mean((2, 3)) for f in found]) for name in layers}


def descriptors(features: dict[str, Tensor], painting: dict[str, Tensor]) -> Tensor:
    """Join the layers, each divided by the painting's root mean square: [N, D], entries around 1.

    features, painting: from crop_features. Without the division, the layer with the largest
    activations would decide alone.
    """
    scaled = [
        value / painting[name].square().mean().sqrt().clamp_min(1e-12)
        for name, value in features.items()
    ]
    return torch.cat(scaled, dim=1)


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """Return the unbiased estimate for samples [N, D] and [M, D], of at least two rows each.

    The kernel is (x y / D + 1)^3. The estimate for two samples of one distribution is around 0 and
    can be negative.
    """
    one, other = one.double(), other.double()
    within = _mean_of_pairs(_kernel(one, one)) + _mean_of_pairs(_kernel(other, other))
    return float(within - 2 * _kernel(one, other).mean())


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.T / one.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """The mean over pairs of different samples."""
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
