"""Faults of painted pictures that an objective hardly sees, each as one number with its limits.

Every measure is zero or near one where nothing is wrong, and a picture that is made bad on purpose
leaves the limits: the tests hold that. Pictures are float32 [1, 3, H, W] in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.fit.losses import ROUNDING, TILE, grey, grid_spectrum, tiles_of

# Lowest and highest value of a picture that has nothing of the fault.
LIMITS: dict[str, tuple[float, float]] = {
    "checkerboard": (0.0, 3.0),
    "border_error": (0.0, 2.0),
    "border_variance": (0.4, 2.0),
    "flat_deviation": (0.2, 2.5),
    "dead_blocks": (0.0, 0.002),
}

BORDER = 16  # pixels; padding is felt within about so many
FLAT = 0.02  # standard deviation of a tile of a photo, of [0, 1], below which nothing is seen in it
DEAD = 8  # pixels; every dead square of twice that side holds such a block whole
CONSTANT = 2.5 / 255  # between the darkest and the brightest pixel of a dead block: rounding


def artefacts(pastiche: Tensor, photo: Tensor, painting: Tensor) -> dict[str, float]:
    """All measures of a pastiche of a photo of the same shape; NaN where one cannot be taken.

    Each side must have at least 2 TILE pixels.
    """
    return {
        "checkerboard": checkerboard(pastiche, painting),
        "border_error": border_error(pastiche, photo),
        "border_variance": border_variance(pastiche, photo),
        "flat_deviation": flat_deviation(pastiche, photo, painting),
        "dead_blocks": dead_blocks(pastiche, photo),
    }


def within_limits(name: str, value: float) -> bool:
    """Whether a measure of this name says that nothing is wrong; so does NaN."""
    low, high = LIMITS[name]
    return math.isnan(value) or low <= value <= high


def checkerboard(pastiche: Tensor, painting: Tensor) -> float:
    """Spectral energy at periods of 2 and 4 pixels, as a multiple of the painting's.

    As losses.grid_spectrum has it; the worst of the frequencies is told. Where the painting has
    less than what is beside, as a painting made smaller has at a period of 2, it counts as 1:
    a picture that has there what it has beside shows no grid.
    """
    return float((grid_spectrum(pastiche) / grid_spectrum(painting).clamp_min(1)).max())


def border_error(pastiche: Tensor, photo: Tensor) -> float:
    """Mean squared error near the border over that inside, after the photo's best recolouring.

    Of all affine maps of colours the one is taken that brings the photo nearest to the pastiche, so
    that the painting's palette is no error. 1 is alike.
    """
    colours, wanted = (picture[0].flatten(1).T.double() for picture in (photo, pastiche))
    colours = torch.cat([colours, torch.ones_like(colours[:, :1])], dim=1)
    # By the normal equations, slightly damped: a grey photo has fewer than three colours.
    normal = colours.T @ colours / len(colours) + 1e-6 * torch.eye(4, dtype=torch.float64)
    recolouring = torch.linalg.solve(normal, colours.T @ wanted / len(colours))
    error = (wanted - colours @ recolouring).square().mean(1).reshape(photo.shape[2:])
    return _border_over_inside(error)


def border_variance(pastiche: Tensor, photo: Tensor) -> float:
    """Local variance near the border over that inside, relative to what the photo lets expect.

    Half of it is expected where the photo has its own, half all over, as strokes are. 1 is alike.
    """
    expected = _local_variance(photo)
    expected = expected / expected.mean() + 1
    return _border_over_inside(_local_variance(pastiche)) / _border_over_inside(expected)


def flat_deviation(pastiche: Tensor, photo: Tensor, painting: Tensor) -> float:
    """Standard deviation where the photo is flat, as a multiple of that all over the painting.

    Much less than 1 is a sky without strokes, much more is a blotchy one. NaN if the photo is flat
    nowhere.
    """
    flat = _deviation(photo, TILE // 2) < FLAT
    if not flat.any():
        return math.nan
    strokes = _deviation(painting, TILE // 2).mean()
    return float(_deviation(pastiche, TILE // 2)[flat].mean() / strokes)


def dead_blocks(pastiche: Tensor, photo: Tensor) -> float:
    """The share of blocks without any variation though the photo has some there, 0 to 1.

    Where a photo is one single value, as a white background, so is what any network makes of it.
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
