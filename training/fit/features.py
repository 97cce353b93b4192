"""Loss networks: fixed classifiers whose features measure content and style."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.fit.errors import TrainingError

VGG_NAMES = ("vgg16", "vgg19")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, RGB in [0, 1]


class LossNetworkError(TrainingError):
    """A loss network could not be loaded; the message says why and what to do."""


class LossNetwork(nn.Module):
    """A VGG cut into blocks of 3x3 convolutions with ReLU, 2x2 max pooling between blocks.

    Built from named weights: `convB_K` for the K-th convolution of block B, an optional
    `normalize` (1x1, on RGB) before them, and optional `embedB_K` (1x1), which turn the features
    of a distilled network into those of the full one.
    """

    def __init__(self, weights: Mapping[str, Tensor], padding: str = "reflect") -> None:
        """Keep the weights as buffers. padding: `reflect` or `constant`, around every 3x3."""
        super().__init__()
        pattern = re.compile(r"conv(\d+)_(\d+)\.weight")
        places = sorted(
            (int(m[1]), int(m[2])) for name in weights if (m := pattern.fullmatch(name))
        )
        if not places:
            raise LossNetworkError("no weights named convB_K.weight: this is not a loss network")
        self.places, self.padding = places, padding
        for name, tensor in weights.items():
            self.register_buffer(name.replace(".", "_"), tensor.detach().float())

    @property
    def layers(self) -> list[str]:
        """The names of the layers whose features can be asked for, shallow first."""
        return [f"relu{block}_{number}" for block, number in self.places]

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Features [N, C, h, w] by layer name of image [N, 3, H, W], RGB in [0, 1].

        Raises LossNetworkError for a layer that the network does not have.
        """
        if unknown := set(layers) - set(self.layers):
            raise LossNetworkError(
                f"the loss network has no layer {', '.join(sorted(unknown))}; "
                f"it has {', '.join(self.layers)}"
            )
        features: dict[str, Tensor] = {}
        x = self._convolve(image, "normalize")
        block = self.places[0][0]
        for place in self.places:
            if place[0] != block:
                x, block = F.max_pool2d(x, 2), place[0]
            name = f"{place[0]}_{place[1]}"
            x = F.relu(self._convolve(F.pad(x, (1, 1, 1, 1), self.padding), f"conv{name}"))
            if f"relu{name}" in layers:
                features[f"relu{name}"] = self._convolve(x, f"embed{name}")
                if len(features) == len(layers):
                    break
        return features

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        weight = getattr(self, f"{name}_weight", None)
        return x if weight is None else F.conv2d(x, weight, getattr(self, f"{name}_bias", None))


def load_loss_network(source: str) -> LossNetwork:
    """Load `vgg16`, `vgg19` (torchvision's published weights) or a safetensors file.

    Raises LossNetworkError with what to do when the weights cannot be had.
    """
    if source in VGG_NAMES:
        return _torchvision_vgg(source)
    path = Path(source)
    if not path.is_file():
        raise LossNetworkError(
            f"loss network {source!r} is neither {' nor '.join(VGG_NAMES)} nor a safetensors file"
        )
    try:
        return LossNetwork(load_file(path))
    except SafetensorError as error:
        raise LossNetworkError(f"{path} is not a readable safetensors file: {error}") from error


def _torchvision_vgg(name: str) -> LossNetwork:
    import torchvision.models

    try:
        model = torchvision.models.get_model(name, weights="IMAGENET1K_V1")
    except (OSError, RuntimeError) as error:
        raise LossNetworkError(
            f"torchvision could not download the weights of {name} ({error}); connect once, put "
            f"the file into {torch.hub.get_dir()}/checkpoints, or name a safetensors loss network"
        ) from error
    return LossNetwork(named_weights(model.features), padding="constant")


def named_weights(features: nn.Sequential) -> dict[str, Tensor]:
    """The weights of a torchvision VGG's `features` up to relu5_1, normalisation in front."""
    mean, std = torch.tensor(_MEAN), torch.tensor(_STD)
    named = {
        "normalize.weight": torch.diag(1 / std)[:, :, None, None],
        "normalize.bias": -mean / std,
    }
    block, number = 1, 0
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, nn.Conv2d) and (block, number) < (5, 1):
            number += 1
            assert layer.bias is not None
            named[f"conv{block}_{number}.weight"] = layer.weight.detach()
            named[f"conv{block}_{number}.bias"] = layer.bias.detach()
    return named
