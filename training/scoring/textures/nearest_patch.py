"""Nearest patches: whether a texture repeats pieces of its painting.

The distance of a patch to the painting is that to the nearest of all the painting's patches, after
both are brought to mean 0 in each channel and length 1: a copy in other colours is a copy too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 32  # pixels, the side of a patch: larger than a stroke
REDUCTION = 2  # patches are compared at this fraction of the resolution
PATCHES = 128  # drawn from each picture
QUANTILE = 0.1  # of the distances; a texture that copies in part has some small ones
COPIES = 0.7  # a ratio below this means that the texture copies
_BATCH = 64
_FLAT = 1e-3  # least standard deviation of a patch; the pattern of flatter ones is rounding


def copy_ratio(texture: Tensor, painting: Tensor, rng: torch.Generator) -> float:
    """Return the distances of the texture's patches relative to those of held-out patches.

    texture, painting: [1, 3, H, W] in [0, 1], at the resolution of the fit. A held-out patch is one
    of the painting's, compared with all others that do not overlap it. About 1: the texture is as
    far from the painting as the painting is from itself. Below COPIES: it copies.
    """
    small = [F.avg_pool2d(picture, REDUCTION) for picture in (texture, painting)]
    drawn, _ = _draw(small[0], rng)
    held_out, places = _draw(small[1], rng)
    new = _distances(drawn, small[1]).quantile(QUANTILE)
    usual = _distances(held_out, small[1], places).quantile(QUANTILE)
    return float(new / usual.clamp_min(1e-6))


def _draw(picture: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw patches [N, 3, side, side] and the rows and columns [N, 2] of their corners."""
    side = PATCH // REDUCTION
    ends = torch.tensor(picture.shape[2:]) - side + 1
    places = (torch.rand(PATCHES, 2, generator=rng) * ends).long()
    found = [picture[0, :, y : y + side, x : x + side] for y, x in places.tolist()]
    return torch.stack(found), places


def _distances(patches: Tensor, painting: Tensor, places: Tensor | None = None) -> Tensor:
    """Return the distance [N] of each patch to the nearest in the painting.

    places: where the patches come from, if they are the painting's; what overlaps is left out.
    """
    side = patches.shape[-1]
    centred = patches - patches.mean((2, 3), keepdim=True)
    lengths = centred.square().sum((1, 2, 3), keepdim=True).sqrt()
    least = _FLAT * patches[0].numel() ** 0.5
    kernels = centred / lengths.clamp_min(least)
    sums = F.avg_pool2d(painting, side, 1)
    squares = F.avg_pool2d(painting.square(), side, 1) - sums.square()
    norms = (squares.sum(1, keepdim=True).clamp_min(0) * side**2).sqrt().clamp_min(least)
    nearest = []
    for start in range(0, len(kernels), _BATCH):
        # The kernels have mean 0 in each channel, so the painting's means drop out.
        correlation = F.conv2d(painting, kernels[start : start + _BATCH])[0] / norms[0]
        if places is not None:
            for plane, (y, x) in zip(
                correlation, places[start : start + _BATCH].tolist(), strict=True
            ):
                plane[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = -1
        nearest.append(correlation.flatten(1).amax(1))
    return (2 - 2 * torch.cat(nearest)).clamp_min(0).sqrt()
