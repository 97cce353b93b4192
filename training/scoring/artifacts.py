"""Artifacts of pastiches that the objective barely registers, each as one number with limits.

Every measure is close to 0 or 1 for a good picture. The tests check that deliberately degraded
pictures exceed the limits. Pictures are float32 [1, 3, H, W] in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.fit.losses import ROUNDING, TILE, blocking_loss, grey, grid_spectrum, tiles_of

# The lowest and highest value of a picture without the artifact.
LIMITS: dict[str, tuple[float, float]] = {
    "checkerboard": (0.0, 3.0),
    "blocking": (0.0, 0.05),
    "border_error": (0.0, 2.0),
    "border_variance": (0.4, 2.0),
    "flat_deviation": (0.2, 2.5),
    "dead_blocks": (0.0, 0.002),
}

BLOCK = 8  # pixels; the stride of the compact layout, a multiple of that of the other
BORDER = 16  # pixels; the reach of the effects of padding
FLAT = 0.02  # a tile of a photo with a lower standard deviation, of values in [0, 1], is flat
DEAD = 8  # pixels; every dead square of twice this side contains a whole block
CONSTANT = 2.5 / 255  # largest difference between pixels of a dead block, from rounding


def measure_artifacts(pastiche: Tensor, photo: Tensor, painting: Tensor) -> dict[str, float]:
    """Return all measures of a pastiche of a photo of the same shape; NaN if one is undefined.

    Each side must be at least 2 * TILE pixels.
    """
    return {
        "checkerboard": checkerboard_ratio(pastiche, painting),
        "blocking": blocking_loss(pastiche, BLOCK).item(),
        "border_error": border_error(pastiche, photo),
        "border_variance": border_variance(pastiche, photo),
        "flat_deviation": flat_deviation(pastiche, photo, painting),
        "dead_blocks": dead_blocks(pastiche, photo),
    }


def within_limits(name: str, value: float) -> bool:
    """Return whether a measure is within its limits, or NaN."""
    low, high = LIMITS[name]
    return math.isnan(value) or low <= value <= high


def checkerboard_ratio(pastiche: Tensor, painting: Tensor) -> float:
    """Return the grid_spectrum of the pastiche over the painting's, at the worst frequency.

    The painting's counts as at least 1: a resized painting has less energy at a period of 2 pixels
    than at neighbouring ones, and a pastiche without that dip shows no grid.
    """
    return float((grid_spectrum(pastiche) / grid_spectrum(painting).clamp_min(1)).max())


def border_error(pastiche: Tensor, photo: Tensor) -> float:
    """Return the mean squared error near the border over that inside, for the recoloured photo.

    The photo is recoloured by the affine map of colours that brings it closest to the pastiche, so
    that the painting's palette does not count as an error. 1 means no difference.
    """
    colours, wanted = (picture[0].flatten(1).T.double() for picture in (photo, pastiche))
    colours = torch.cat([colours, torch.ones_like(colours[:, :1])], dim=1)
    # Normal equations, slightly damped because the colours of a grey photo are dependent.
    normal = colours.T @ colours / len(colours) + 1e-6 * torch.eye(4, dtype=torch.float64)
    recolouring = torch.linalg.solve(normal, colours.T @ wanted / len(colours))
    error = (wanted - colours @ recolouring).square().mean(1).reshape(photo.shape[2:])
    return _border_over_inside(error)


def border_variance(pastiche: Tensor, photo: Tensor) -> float:
    """Return the local variance near the border over that inside, relative to a prediction.

    The prediction: half of the variance follows the photo's, half is uniform, as brush strokes are.
    1 means as predicted.
    """
    expected = _local_variance(photo)
    expected = expected / expected.mean() + 1
    return _border_over_inside(_local_variance(pastiche)) / _border_over_inside(expected)


def flat_deviation(pastiche: Tensor, photo: Tensor, painting: Tensor) -> float:
    """Return the standard deviation where the photo is flat over that of the whole painting.

    Far below 1, a sky has no strokes; far above, it is blotchy. NaN if the photo has no flat tiles.
    """
    flat = _deviation(photo, TILE // 2) < FLAT
    if not flat.any():
        return math.nan
    strokes = _deviation(painting, TILE // 2).mean()
    return float(_deviation(pastiche, TILE // 2)[flat].mean() / strokes)


def dead_blocks(pastiche: Tensor, photo: Tensor) -> float:
    """Return the share, 0 to 1, of blocks that are constant in the pastiche but not in the photo.

    Constant blocks of the photo, such as a white background, come out constant from any network.
    """
    return float((_constant(pastiche) & ~_constant(photo)).float().mean())


def _constant(picture: Tensor) -> Tensor:
    highest = F.max_pool2d(picture, DEAD)
    lowest = -F.max_pool2d(-picture, DEAD)
    return ((highest - lowest) <= CONSTANT).all(dim=1)


def _deviation(picture: Tensor, step: int) -> Tensor:
    return tiles_of(grey(picture), TILE, step)[0].std((1, 2), correction=0)


def _local_variance(picture: Tensor) -> Tensor:
    plane = grey(picture)[:, None]
    padded = (F.pad(x, (3, 3, 3, 3), "reflect") for x in (plane, plane**2))
    mean, square = (F.avg_pool2d(x, 7, 1) for x in padded)
    return (square - mean**2).clamp_min(0)[0, 0] + ROUNDING


def _border_over_inside(values: Tensor) -> float:
    inside = values[BORDER:-BORDER, BORDER:-BORDER]
    border = (values.sum() - inside.sum()) / (values.numel() - inside.numel())
    return float(border / inside.mean().clamp_min(ROUNDING))
