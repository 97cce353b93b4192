"""Faults of painted pictures that an objective hardly sees, each as one number with its limits.

Every measure is zero or near one where nothing is wrong, and a picture that is made bad on purpose
leaves the limits: the tests hold that. Pictures are float32 [1, 3, H, W] in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Lowest and highest value of a picture that has nothing of the fault.
LIMITS: dict[str, tuple[float, float]] = {
    "checkerboard": (0.0, 3.0),
    "border_error": (0.0, 2.0),
    "border_variance": (0.4, 2.0),
    "flat_deviation": (0.2, 2.5),
    "dead_blocks": (0.0, 0.002),
}

BORDER = 16  # pixels; padding is felt within about so many
TILE = 32  # pixels, of which spectra are taken and whose flatness is judged
FLAT = 0.02  # standard deviation of a tile of a photo, of [0, 1], below which nothing is seen in it
DEAD = 8  # pixels; every dead square of twice that side holds such a block whole
CONSTANT = 2.5 / 255  # between the darkest and the brightest pixel of a dead block: rounding

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_ROUNDING = (1 / 255) ** 2 / 12  # variance that 8 bits add; keeps flat tiles from ruling


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

    Upsampling leaves its grid there (Odena et al. 2016). Energy counts relative to that of the
    frequencies beside, so that fine strokes are no fault. The worst of the frequencies is told.
    """
    return float((grid_energy(pastiche) / grid_energy(painting)).max())


def grid_energy(picture: Tensor) -> Tensor:
    """How far the spectrum stands out at every frequency whose periods are 2, 4 or none, [15].

    1 is not at all. The mean over tiles is geometric: a grid is seen best where little else is.
    """
    window = torch.hann_window(TILE, periodic=True)
    tiles = _tiles(_grey(picture), TILE, TILE // 2)
    tiles = (tiles - tiles.mean((1, 2), keepdim=True)) * window[:, None] * window
    floor = _ROUNDING * window.square().sum() ** 2
    power = (torch.fft.fft2(tiles).abs().square() + floor).log().mean(0)
    # The Hann window spreads a line over its next neighbours: those beside are three away.
    beside = [power.roll(shift, axis) for shift in (-3, 3) for axis in (0, 1)]
    standing_out = power - torch.stack(beside).mean(0)
    on_axes = torch.zeros(TILE, TILE, dtype=torch.bool)
    on_axes[0], on_axes[:, 0] = True, True
    # Across an axis, where upright and level things have their energy, everything stands out.
    along = torch.where(
        torch.arange(TILE)[:, None] == 0,
        power - (power.roll(3, 1) + power.roll(-3, 1)) / 2,
        power - (power.roll(3, 0) + power.roll(-3, 0)) / 2,
    )
    step = TILE // 4
    return torch.where(on_axes, along, standing_out)[::step, ::step].flatten()[1:].exp()


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


def _grey(picture: Tensor) -> Tensor:
    return (picture[0] * torch.tensor(_GREY)[:, None, None]).sum(0)


def _tiles(plane: Tensor, side: int, step: int) -> Tensor:
    return plane.unfold(0, side, step).unfold(1, side, step).reshape(-1, side, side)


def _deviation(picture: Tensor, step: int) -> Tensor:
    return _tiles(_grey(picture), TILE, step).std((1, 2), correction=0)


def _local_variance(picture: Tensor) -> Tensor:
    grey = _grey(picture)[None, None]
    mean, square = (F.avg_pool2d(F.pad(x, (3, 3, 3, 3), "reflect"), 7, 1) for x in (grey, grey**2))
    return (square - mean**2).clamp_min(0)[0, 0] + _ROUNDING


def _border_over_inside(values: Tensor) -> float:
    inside = values[BORDER:-BORDER, BORDER:-BORDER]
    border = (values.sum() - inside.sum()) / (values.numel() - inside.numel())
    return float(border / inside.mean().clamp_min(_ROUNDING))
