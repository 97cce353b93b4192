"""Patches of paintings, and the noise from which the generator makes its own."""

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.engine.noise import Noise, noise_map
from training.fit.data import DataError, read_image, to_tensor
from training.fit.networks.generator import Generator
from training.fit.texture.growing import phase_of, reduced
from training.fit.texture.recipe import TextureRecipe

ANCHORS = 2**32  # whole variations to draw from


@dataclass(frozen=True)
class TextureBatch:
    """The samples of one step.

    patches: real, float32 [N, 3, size, size] in [0, 1]. painting: int64 [N], of the patches and of
    the pictures to generate. noise: float32 [N, Z, h, w]. shares: uniform in [0, 1], [N], for the
    gradient penalty. reduction: see growing.
    """

    patches: Tensor
    painting: Tensor
    noise: Tensor
    shares: Tensor
    reduction: float

    def to(self, device: torch.device) -> "TextureBatch":
        """The batch on a device."""
        return replace(
            self,
            patches=self.patches.to(device, non_blocking=True),
            painting=self.painting.to(device, non_blocking=True),
            noise=self.noise.to(device, non_blocking=True),
            shares=self.shares.to(device, non_blocking=True),
        )


def load_texture_painting(path: Path, longest_side: int, patch: int) -> Tensor:
    """Read a painting and shrink it to a longest side: float32 [1, 3, H, W] in [0, 1].

    Raises DataError if it is then smaller than a patch.
    """
    image = read_image(path)
    scale = min(1.0, longest_side / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    if min(size) < patch:
        raise DataError(
            f"the painting {path} is {image.width}x{image.height} pixels, {size[0]}x{size[1]} in "
            f"the fit; each side must be at least patch, {patch}"
        )
    return to_tensor(image.resize((size[0], size[1]), Image.Resampling.LANCZOS))


def load_paintings(recipe: TextureRecipe, folder: Path) -> list[Tensor]:
    """Read the paintings of a recipe, files of the folder. Raises DataError."""
    return [
        load_texture_painting(folder / style.painting, recipe.painting_size, recipe.patch)
        for style in recipe.styles
    ]


class TextureBatches:
    """The batch of every step, a pure function of (seed, step, rank).

    A resumed fit therefore sees the same batches, without any state to restore.
    """

    def __init__(
        self, paintings: list[Tensor], recipe: TextureRecipe, generator: Generator, rank: int = 0
    ) -> None:
        """paintings: as load_paintings returns them."""
        self.paintings, self.recipe, self.rank = paintings, recipe, rank
        self.stride, self.margin = generator.stride, generator.margin

    def __getitem__(self, step: int) -> TextureBatch:
        phase, reduction = phase_of(self.recipe, step)
        rng = random.Random(f"{self.recipe.seed}/{step}/{self.rank}")
        shares = [style.share for style in self.recipe.styles]
        chosen = rng.choices(range(len(shares)), shares, k=phase.batch)
        patches = torch.cat([self._patch(self.paintings[index], rng) for index in chosen])
        noise = np.stack([self._noise(rng) for _ in chosen])
        mixing = torch.tensor([rng.random() for _ in chosen])
        return TextureBatch(
            reduced(patches, reduction),
            torch.tensor(chosen),
            torch.from_numpy(noise),
            mixing,
            reduction,
        )

    def _patch(self, painting: Tensor, rng: random.Random) -> Tensor:
        """A random square at full resolution, mirrored half of the time."""
        side = self.recipe.patch
        top, left = (rng.randint(0, length - side) for length in painting.shape[2:])
        patch = painting[..., top : top + side, left : left + side]
        return patch.flip(3) if rng.random() < 0.5 else patch

    def _noise(self, rng: random.Random) -> Noise:
        recipe, cells = self.recipe, self.recipe.patch // self.stride
        # A patch lies anywhere in a picture, so the waves pass it at any phase.
        down, across = rng.random() * 1000, rng.random() * 1000
        waves = [
            (fy, fx, phase + 2 * math.pi * (fy * down + fx * across))
            for fy, fx, phase in recipe.waves
        ]
        return noise_map(
            rng.getrandbits(63),
            cells,
            cells,
            local=recipe.local_noise,
            global_=recipe.global_noise,
            waves=waves,
            variation=rng.randrange(ANCHORS),
            margin=self.margin,
        )
