"""Judge a texture: its distances from its painting, and whether it copies."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.fit.errors import TrainingError
from training.fit.features import LossNetwork
from training.scoring.textures.bounds import Bounded, bounded, shuffled_pixels
from training.scoring.textures.kernel_distance import (
    CROP,
    LAYERS,
    crop_features,
    descriptors,
    kernel_distance,
)
from training.scoring.textures.nearest_patch import COPIES, copy_ratio
from training.scoring.textures.sliced_wasserstein import (
    laplacian_pyramid,
    level_count,
    normalised,
    patches,
    random_slices,
    sliced_wasserstein,
)

SMALLEST = 2 * CROP  # pixels; pictures with a smaller side give too few patches


class TextureError(TrainingError):
    """A texture cannot be judged; the message says why."""


@dataclass(frozen=True)
class TextureScores:
    """The distances of a texture from its painting.

    wasserstein: by the level of the pyramid, 0 for the finest. kernel: on features of the loss
    network. copy_ratio: see nearest_patch.
    """

    wasserstein: Mapping[int, Bounded]
    kernel: Bounded
    copy_ratio: float

    @property
    def mean_wasserstein(self) -> Bounded:
        """The mean over the levels."""
        rows = [(b.value, b.floor, b.ceiling) for b in self.wasserstein.values()]
        return Bounded(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))

    @property
    def copies(self) -> bool:
        """Whether the texture repeats pieces of its painting."""
        return self.copy_ratio < COPIES

    def dump(self) -> dict[str, Any]:
        """Return all scores, for a JSON file."""
        return asdict(self) | {"copies": self.copies}


def judge(texture: Tensor, painting: Tensor, network: LossNetwork, seed: int = 0) -> TextureScores:
    """Measure a texture. It and the painting: [1, 3, H, W] in [0, 1], at the scale of the fit.

    The noise that gives the ceilings has the painting's pixels in random order. Raises TextureError
    if a picture is too small, LossNetworkError.
    """
    for name, picture in (("texture", texture), ("painting", painting)):
        height, width = picture.shape[2:]
        if min(height, width) < SMALLEST:
            raise TextureError(
                f"the {name} is {width}x{height} pixels; each side must be at least {SMALLEST}"
            )
    rng = torch.Generator().manual_seed(seed)
    pictures = (texture, painting, shuffled_pixels(painting, rng))
    return TextureScores(
        _wasserstein(*pictures, rng),
        _kernel(*pictures, network, rng),
        copy_ratio(texture, painting, rng),
    )


def _wasserstein(
    texture: Tensor, painting: Tensor, noise: Tensor, rng: torch.Generator
) -> dict[int, Bounded]:
    count = level_count(min(*texture.shape[2:], *painting.shape[2:]))
    pyramids = (laplacian_pyramid(picture, count) for picture in (texture, painting, noise))
    found = {}
    for level, bands in enumerate(zip(*pyramids, strict=True)):
        samples = [patches(band) for band in bands]
        made, painted, noisy = (normalised(sample, samples[1]) for sample in samples)
        slices = random_slices(painted.shape[1], rng)
        distance = partial(sliced_wasserstein, slices=slices)
        found[level] = bounded(distance, made, painted, noisy, rng)
    return found


def _kernel(
    texture: Tensor, painting: Tensor, noise: Tensor, network: LossNetwork, rng: torch.Generator
) -> Bounded:
    layers = [name for name in LAYERS if name in network.layers] or network.layers
    features = [crop_features(network, picture, layers) for picture in (texture, painting, noise)]
    made, painted, noisy = (descriptors(found, features[1]) for found in features)
    return bounded(kernel_distance, made, painted, noisy, rng)
