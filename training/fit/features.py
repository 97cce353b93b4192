"""Loss networks: fixed classifiers whose features measure content and style."""

import itertools
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from training.fit.errors import TrainingError

VGG_NAMES = ("vgg16", "vgg19")
_PLACE = re.compile(r"(?:conv|embed)(\d+)_(\d+)\.(?:weight|bias)|normalize\.(?:weight|bias)")
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
        """Keep the weights as float32 buffers. padding: `reflect` or `constant` (zeros).

        Raises LossNetworkError if the weights do not fit together.
        """
        super().__init__()
        self.places, self.padding = _places(weights), padding
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

    def compress_embeddings(self) -> None:
        """Rotate embedded features into as few channels as they span; losses stay what they are.

        An embedding is linear: f -> E f + b = M [f; 1]. With M = Q R, R [f; 1] has the norms,
        distances and, as Q drops out of every Frobenius norm, the relative Gram errors of the
        embedded features, in one channel more than f has.
        """
        for place in (f"{block}_{number}" for block, number in self.places):
            weight = getattr(self, f"embed{place}_weight", None)
            if weight is None or weight.shape[0] <= weight.shape[1] + 1:
                continue
            bias = getattr(self, f"embed{place}_bias", weight.new_zeros(len(weight)))
            matrix = torch.cat([weight[:, :, 0, 0], bias[:, None]], dim=1).double()
            _, triangle = torch.linalg.qr(matrix, mode="r")
            self.register_buffer(f"embed{place}_weight", triangle[:, :-1, None, None].float())
            self.register_buffer(f"embed{place}_bias", triangle[:, -1].float())

    def _convolve(self, x: Tensor, name: str) -> Tensor:
        weight = getattr(self, f"{name}_weight", None)
        return x if weight is None else F.conv2d(x, weight, getattr(self, f"{name}_bias", None))


def load_loss_network(source: str) -> LossNetwork:
    """Load `vgg16`, `vgg19` (torchvision's published weights) or a safetensors file.

    A file may hold any VGG, also in half precision. Convolutions pad with zeros, as VGGs were
    trained, unless the file's metadata has a `padding` that begins with `reflect`.

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
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            padding = (file.metadata() or {}).get("padding", "zero")
    except (SafetensorError, OSError) as error:
        raise LossNetworkError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        network = LossNetwork(weights, "reflect" if padding.startswith("reflect") else "constant")
        network.compress_embeddings()
        return network
    except LossNetworkError as error:
        raise LossNetworkError(f"{path}: {error}") from error


def _places(weights: Mapping[str, Tensor]) -> list[tuple[int, int]]:
    """The (block, number) of every convolution, in order. Raises LossNetworkError."""
    places = sorted(
        (int(match[1]), int(match[2]))
        for name in weights
        if (match := _PLACE.fullmatch(name)) and name.startswith("conv") and name.endswith("weight")
    )
    if not places:
        raise LossNetworkError("no weights named convB_K.weight: this is not a loss network")
    for (block, number), (next_block, next_number) in itertools.pairwise([(1, 0), *places]):
        if (next_block, next_number) not in ((block, number + 1), (block + 1, 1)):
            raise LossNetworkError(f"conv{next_block}_{next_number} has no convolution before it")
    known = {f"{kind}{block}_{number}" for kind in ("conv", "embed") for block, number in places}
    for name, tensor in weights.items():
        layer = name.partition(".")[0]
        if not _PLACE.fullmatch(name) or layer not in known | {"normalize"}:
            raise LossNetworkError(f"{name} belongs to no layer of a VGG")
        if name.endswith("bias") and f"{layer}.weight" not in weights:
            raise LossNetworkError(f"{name} has no {layer}.weight")
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise LossNetworkError(f"{name} holds values that are not finite numbers")
    channels = _check(weights, "normalize", 3, 1)
    for block, number in places:
        channels = _check(weights, f"conv{block}_{number}", channels, 3)
        _check(weights, f"embed{block}_{number}", channels, 1)
    return places


def _check(weights: Mapping[str, Tensor], layer: str, channels: int, side: int) -> int:
    """How many channels come out of a layer that takes `channels`. Raises LossNetworkError."""
    weight = weights.get(f"{layer}.weight")
    if weight is None:
        return channels
    shape = tuple(weight.shape)
    if len(shape) != 4 or shape[0] == 0 or shape[1:] != (channels, side, side):
        raise LossNetworkError(
            f"{layer}.weight has the shape {shape}; it must be [C, {channels}, {side}, {side}]"
        )
    bias = weights.get(f"{layer}.bias")
    if bias is not None and bias.shape != shape[:1]:
        raise LossNetworkError(
            f"{layer}.bias has the shape {tuple(bias.shape)}; it must be [{shape[0]}]"
        )
    return shape[0]


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
