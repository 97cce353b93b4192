"""Photographs to train on and paintings to learn."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from training.fit.errors import TrainingError
from training.fit.recipe import Recipe

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
ENLARGEMENT = 4  # at most; a face or sky of a large photo is that smooth
SMALLEST_PAINTING = 64  # pixels; smaller pictures show no brush strokes
_READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
)


class DataError(TrainingError):
    """A photo or painting cannot be used; the message names the file and says why."""


def find_photos(folder: Path) -> list[Path]:
    """Return all picture files below `folder`, sorted. Raises DataError if it finds nothing."""
    if not folder.is_dir():
        raise DataError(f"the photo folder {folder} does not exist")
    photos = sorted(
        Path(root) / name
        for root, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )
    if not photos:
        raise DataError(f"no photos below {folder} (looked for {' '.join(sorted(SUFFIXES))})")
    return photos


def read_image(path: Path) -> Image.Image:
    """Read a picture as RGB, rotated as its EXIF data says. Raises DataError."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (1024, 1024))
            return ImageOps.exif_transpose(image).convert("RGB")
    except _READ_ERRORS as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error


def to_tensor(image: Image.Image) -> Tensor:
    """Convert an RGB picture to float32 [1, 3, H, W] in [0, 1]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1)[None].float() / 255


def load_image(path: Path, shorter_side: int) -> Tensor:
    """Read a picture and resize it: float32 [1, 3, H, W] in [0, 1], min(H, W) = `shorter_side`.

    Raises DataError.
    """
    return _resized(read_image(path), shorter_side)


def _resized(image: Image.Image, shorter_side: int) -> Tensor:
    scale = shorter_side / min(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return to_tensor(image.resize(size, Image.Resampling.LANCZOS))


def load_painting(path: Path, shorter_side: int) -> Tensor:
    """Like load_image, but also raise DataError if the picture is too small to learn from."""
    image = read_image(path)
    if min(image.size) < SMALLEST_PAINTING:
        raise DataError(
            f"the painting {path} is {image.width}x{image.height} pixels; "
            f"each side must be at least {SMALLEST_PAINTING}"
        )
    return _resized(image, shorter_side)


def load_paintings(recipe: Recipe, folder: Path) -> list[Tensor]:
    """Read the painting of every style, at the recipe's size: see load_painting."""
    return [
        load_painting(folder / style.painting, size)
        for style, size in zip(recipe.styles, recipe.painting_sizes, strict=True)
    ]


@dataclass
class Batch:
    """The samples of one step: photos uint8 [N, 3, crop, crop], style_index int64 [N].

    boldness: float32 [N], from 0, the default vectors, to 1, the bold ones. unreadable: an error
    message for each photo that could not be read and was replaced.
    """

    photos: Tensor
    style_index: Tensor
    boldness: Tensor
    unreadable: list[str] = field(default_factory=list)


class Batches(Dataset[Batch]):
    """The batch of every step, a pure function of (seed, step, rank).

    A resumed fit therefore sees the same batches, without any state to restore.
    """

    def __init__(self, photos: list[Path], recipe: Recipe, rank: int = 0) -> None:
        self.photos, self.recipe, self.rank = photos, recipe, rank

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        size, crop = self.recipe.phase(step).shape(step)
        rng = random.Random(f"{self.recipe.seed}/{step}/{self.rank}")
        shares = [style.share for style in self.recipe.styles]
        styles = rng.choices(range(len(shares)), shares, k=size)
        unreadable: list[str] = []
        crops = [self._crop(crop, rng, unreadable) for _ in range(size)]
        photos = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        boldness = [self._boldness(rng) for _ in range(size)]
        return Batch(photos, torch.tensor(styles), torch.tensor(boldness), unreadable)

    def _boldness(self, rng: random.Random) -> float:
        if self.recipe.bold_style_weight is None:
            return 0.0
        # Half of the samples are fitted to the default vectors, a quarter to the bold ones.
        return rng.choice((0.0, 0.0, 1.0, rng.random()))

    def _crop(self, side: int, rng: random.Random, unreadable: list[str]) -> NDArray[np.uint8]:
        for photo in self._candidates(rng):
            try:
                enlarged = rng.random() < self.recipe.enlarged_share
                return np.asarray(random_crop(read_image(photo), side, rng, enlarged))
            except DataError as error:
                unreadable.append(str(error))
        raise DataError(f"none of the {len(self.photos)} photos can be read; {unreadable[-1]}")

    def _candidates(self, rng: random.Random) -> Iterator[Path]:
        yield rng.choice(self.photos)
        # If that one is broken, try every photo once, in random order.
        yield from rng.sample(self.photos, len(self.photos))


def random_crop(
    image: Image.Image, side: int, rng: random.Random, enlarged: bool = False
) -> Image.Image:
    """Cut a square at a random position and scale, mirror it half the time, resize it to `side`.

    The square covers between half and all of the picture's shorter side. If `enlarged`, its own
    side is between `side` / ENLARGEMENT and `side`.
    """
    shorter = min(image.size)
    if enlarged:
        window = round(side * ENLARGEMENT ** -rng.random())
    else:
        window = max(side, round(shorter * rng.uniform(0.5, 1.0)))
    window = min(shorter, window)
    left = rng.randint(0, image.width - window)
    top = rng.randint(0, image.height - window)
    box = (left, top, left + window, top + window)
    crop = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop
