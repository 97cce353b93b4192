"""Sliced Wasserstein distance on the patches of a Laplacian pyramid.

After Karras et al. (arXiv:1710.10196, section 5). Their patches have the mean and variance of
their own set removed; ours have those of the painting removed, so that a wrong palette counts.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 7  # pixels, the side of a patch
SLICES = 512
SMALLEST_LEVEL = 64  # pixels, the least shorter side of a level
_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)


def laplacian_pyramid(picture: Tensor, levels: int) -> list[Tensor]:
    """Split [1, 3, H, W] into bands, the finest first: each is half as large as the one before.

    The last band holds what remains. H and W must be at least 2^(levels + 1).
    """
    bands = []
    for _ in range(levels - 1):
        smaller = _halved(picture)
        bands.append(picture - F.interpolate(smaller, picture.shape[2:], mode="bilinear"))
        picture = smaller
    return [*bands, picture]


def level_count(side: int) -> int:
    """Return how many levels a picture of this shorter side has, in pixels; at least 1."""
    count = 1
    while side >> count >= SMALLEST_LEVEL:
        count += 1
    return count


def patches(picture: Tensor) -> Tensor:
    """Return all patches of [1, 3, H, W] on a grid, without overlap: [N, 3 PATCH^2]."""
    return F.unfold(picture, PATCH, stride=PATCH)[0].T


def normalised(samples: Tensor, painting: Tensor) -> Tensor:
    """Remove the mean and the standard deviation of each channel of the painting's patches.

    samples: [N, 3 PATCH^2]. painting: [M, 3 PATCH^2]. The result has the shape of samples.
    """
    channels = painting.view(len(painting), 3, -1)
    std, mean = torch.std_mean(channels, dim=(0, 2), keepdim=True)
    return ((samples.view(len(samples), 3, -1) - mean) / std.clamp_min(1e-6)).flatten(1)


def random_slices(dimension: int, rng: torch.Generator) -> Tensor:
    """Draw SLICES random directions of length 1: [dimension, SLICES]."""
    return F.normalize(torch.randn(dimension, SLICES, generator=rng), dim=0)


def sliced_wasserstein(one: Tensor, other: Tensor, slices: Tensor) -> float:
    """Return the mean absolute difference of the sorted projections of two [N, D] on [D, S]."""
    # NumPy sorts several times faster than PyTorch.
    rows = [np.sort((samples @ slices).T.contiguous().numpy(), axis=1) for samples in (one, other)]
    return float(np.abs(rows[0] - rows[1]).mean())


def _halved(picture: Tensor) -> Tensor:
    weights = picture.new_tensor(_BINOMIAL)
    kernel = (weights[:, None] * weights / weights.sum() ** 2).expand(3, 1, 5, 5)
    return F.conv2d(F.pad(picture, (2, 2, 2, 2), "reflect"), kernel, stride=2, groups=3)
