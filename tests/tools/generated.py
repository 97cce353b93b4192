"""What the tests of the training make for themselves: pictures, loss networks, recipes."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured clouds: no two seeds are alike, and neighbouring pixels are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Clouds uint8 [N, H, W, 3]."""
    n, height, width = shape
    return np.stack([np.asarray(picture(width, height, seed + i)) for i in range(n)])


def planes(*shape: int, seed: int = 0) -> Tensor:
    """Clouds float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels(*shape, seed=seed)).permute(0, 3, 1, 2) / 255


def write_pictures(folder: Path, count: int, width: int = 80, height: int = 70) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for seed, path in enumerate(paths):
        picture(width, height, seed).save(path)
    return paths


def loss_weights(seed: int = 0) -> dict[str, Tensor]:
    """A loss network with the layers relu1_1 and relu2_1 and random weights."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "conv1_1.weight": torch.randn(8, 3, 3, 3, generator=rng),
        "conv1_1.bias": torch.randn(8, generator=rng),
        "conv2_1.weight": 0.2 * torch.randn(8, 8, 3, 3, generator=rng),
        "conv2_1.bias": torch.randn(8, generator=rng),
    }
