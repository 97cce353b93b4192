"""Generated pictures and loss networks for the training tests."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from training.fit.features import named_weights


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return coloured clouds, in which neighbouring pixels are similar."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return clouds, uint8 [N, H, W, 3]."""
    n, height, width = shape
    return np.stack([np.asarray(picture(width, height, seed + i)) for i in range(n)])


def planes(*shape: int, seed: int = 0) -> Tensor:
    """Return clouds, float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pixels(*shape, seed=seed)).permute(0, 3, 1, 2) / 255


def write_pictures(folder: Path, count: int, width: int = 80, height: int = 70) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(count)]
    for seed, path in enumerate(paths):
        picture(width, height, seed).save(path)
    return paths


def loss_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return random weights of a loss network with the layers relu1_1 and relu2_1."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "conv1_1.weight": torch.randn(8, 3, 3, 3, generator=rng),
        "conv1_1.bias": torch.randn(8, generator=rng),
        "conv2_1.weight": 0.2 * torch.randn(8, 8, 3, 3, generator=rng),
        "conv2_1.bias": torch.randn(8, generator=rng),
    }


def vgg_weights(seed: int = 0) -> dict[str, Tensor]:
    """A VGG-16, a sixteenth as wide, with random weights under which no layer fades."""
    torch.manual_seed(seed)
    layers = make_layers([c if c == "M" else int(c) // 16 for c in cfgs["D"]])
    for parameter in layers.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
    return named_weights(layers)
