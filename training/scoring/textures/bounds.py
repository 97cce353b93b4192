"""A distance between a texture and its painting, beside what is best and worst."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SPLITS = 5  # random halves of the painting that a distance is averaged over


@dataclass(frozen=True)
class Bounded:
    """A distance to the painting.

    floor: of one half of the painting from the other. ceiling: of noise from the painting.
    """

    value: float
    floor: float
    ceiling: float

    @property
    def share(self) -> float:
        """Where the value lies between the floor, 0, and the ceiling, 1."""
        return (self.value - self.floor) / (self.ceiling - self.floor)


def bounded(
    distance: Callable[[Tensor, Tensor], float],
    texture: Tensor,
    painting: Tensor,
    noise: Tensor,
    rng: torch.Generator,
) -> Bounded:
    """Measure three samples against half of the painting's descriptors: a distance, its bounds.

    texture, painting, noise: descriptors [N, D] of patches that do not overlap. All samples have
    the same size, at most half of the painting's patches: small samples are further apart.
    """
    count = min(len(texture), len(noise), len(painting) // 2)
    sums = [0.0, 0.0, 0.0]
    for _ in range(SPLITS):
        order = torch.randperm(len(painting), generator=rng)
        target, other = painting[order[:count]], painting[order[count : 2 * count]]
        for i, sample in enumerate((_some(texture, count, rng), other, _some(noise, count, rng))):
            sums[i] += distance(sample, target)
    return Bounded(*(total / SPLITS for total in sums))


def shuffled_pixels(picture: Tensor, rng: torch.Generator) -> Tensor:
    """Return the pixels of [1, 3, H, W] in random order: noise of the same palette."""
    pixels = picture.flatten(2)
    return pixels[..., torch.randperm(pixels.shape[2], generator=rng)].view(picture.shape)


def _some(descriptors: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return descriptors[torch.randperm(len(descriptors), generator=rng)[:count]]
