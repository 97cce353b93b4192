from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from tests.tools.generated import loss_weights, planes, vgg_weights
from training.fit.features import LossNetwork, LossNetworkError, load_loss_network, named_weights
from training.fit.losses import gram_matrix, relative_error

VGG = {
    "vgg16": "1_1 1_2 2_1 2_2 3_1 3_2 3_3 4_1 4_2 4_3 5_1",
    "vgg19": "1_1 1_2 2_1 2_2 3_1 3_2 3_3 3_4 4_1 4_2 4_3 4_4 5_1",
}


def vgg_features(name: str) -> nn.Sequential:
    """torchvision's layers for vgg16 or vgg19, a sixteenth as wide, with random weights."""
    torch.manual_seed(0)
    config = cfgs[{"vgg16": "D", "vgg19": "E"}[name]]
    features = make_layers([c if c == "M" else int(c) // 16 for c in config])
    for parameter in features.parameters():
        # He et al.: deep features stay as large as the shallow ones.
        nn.init.normal_(
            parameter, std=(2 / parameter[0].numel()) ** 0.5 if parameter.dim() > 1 else 1
        )
    assert isinstance(features, nn.Sequential)
    return features


def normalised(image: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("name", VGG)
@torch.no_grad()
def test_features_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    features = vgg_features(name)
    monkeypatch.setattr(  # in place of a download
        torchvision.models, "get_model", lambda *_, **__: SimpleNamespace(features=features)
    )
    network, image = load_loss_network(name), planes(2, 48, 37)
    assert network.layers == [f"relu{place}" for place in VGG[name].split()]
    x, expected = normalised(image), []
    for layer in features:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            expected.append(x)
    found = network(image, network.layers)
    assert list(found) == network.layers
    for mine, theirs in zip(found.values(), expected, strict=False):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_file_holds_the_same_network(tmp_path: Path) -> None:
    weights = named_weights(vgg_features("vgg16"))
    save_file(weights, tmp_path / "vgg.safetensors")
    image = planes(1, 32, 32)
    found = load_loss_network(str(tmp_path / "vgg.safetensors"))(image, ["relu3_2"])
    expected = LossNetwork(weights, padding="constant")(image, ["relu3_2"])
    assert torch.equal(found["relu3_2"], expected["relu3_2"])


def test_an_embedding_turns_its_own_layer_only() -> None:
    weights, image, layers = loss_weights(), planes(1, 16, 16), ["relu1_1", "relu2_1"]
    matrix = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    embedding = {"embed1_1.weight": matrix[:, :, None, None], "embed1_1.bias": torch.ones(20)}
    plain = LossNetwork(weights)(image, layers)
    embedded = LossNetwork(weights | embedding)(image, layers)
    expected = torch.einsum("oc,nchw->nohw", matrix, plain["relu1_1"]) + 1
    torch.testing.assert_close(embedded["relu1_1"], expected)
    assert torch.equal(embedded["relu2_1"], plain["relu2_1"])


def test_a_loss_network_has_nothing_that_a_fit_could_change() -> None:
    network = LossNetwork({name: nn.Parameter(w) for name, w in loss_weights().items()})
    assert not list(network.parameters())
    assert not network(planes(1, 16, 16), ["relu2_1"])["relu2_1"].requires_grad


def test_a_network_without_biases_works() -> None:
    weights = {name: w for name, w in loss_weights().items() if name.endswith("weight")}
    biases = {name: torch.zeros_like(w) for name, w in loss_weights().items() if "bias" in name}
    image = planes(1, 16, 16)
    without = LossNetwork(weights)(image, ["relu2_1"])
    assert torch.equal(
        without["relu2_1"], LossNetwork(weights | biases)(image, ["relu2_1"])["relu2_1"]
    )


def test_an_unknown_layer_is_told_with_those_there_are() -> None:
    with pytest.raises(LossNetworkError, match=r"no layer relu9_9; it has relu1_1, relu2_1"):
        LossNetwork(loss_weights())(planes(1, 16, 16), ["relu1_1", "relu9_9"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "neither vgg16 nor vgg19 nor a safetensors file"),
        (b"not a network", "not a readable safetensors file"),
        ({"layer.weight": torch.zeros(1)}, "not a loss network"),
    ],
)
def test_a_file_that_is_no_loss_network_is_told(
    tmp_path: Path, content: bytes | dict[str, Tensor] | None, words: str
) -> None:
    path = tmp_path / "loss.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path)
    with pytest.raises(LossNetworkError, match=words):
        load_loss_network(str(path))


def test_a_half_precision_vgg_is_read_and_pads_with_zeros(tmp_path: Path) -> None:
    weights = {name: w.half() for name, w in vgg_weights().items()}
    save_file(weights, tmp_path / "vgg.safetensors")
    network, image = load_loss_network(str(tmp_path / "vgg.safetensors")), planes(1, 32, 48)
    conv = F.conv2d(
        F.conv2d(image, weights["normalize.weight"].float(), weights["normalize.bias"].float()),
        weights["conv1_1.weight"].float(), weights["conv1_1.bias"].float(), padding=1,
    )  # fmt: skip
    torch.testing.assert_close(network(image, ["relu1_1"])["relu1_1"], F.relu(conv))


def test_a_file_can_ask_for_reflection(tmp_path: Path) -> None:
    weights, image = loss_weights(), planes(1, 16, 16)
    save_file(weights, tmp_path / "vgg.safetensors", {"padding": "reflect 1"})
    found = load_loss_network(str(tmp_path / "vgg.safetensors"))(image, ["relu2_1"])
    expected = LossNetwork(weights, padding="reflect")(image, ["relu2_1"])
    assert torch.equal(found["relu2_1"], expected["relu2_1"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv2_1.weight": torch.zeros(8, 9, 3, 3)}, r"conv2_1.weight has .* \[C, 8, 3, 3\]"),
        ({"conv2_1.weight": torch.zeros(8, 8, 5, 5)}, r"conv2_1.weight has .* \[C, 8, 3, 3\]"),
        ({"conv2_1.weight": torch.zeros(8)}, r"conv2_1.weight has the shape \(8,\)"),
        ({"conv2_1.bias": torch.zeros(7)}, r"conv2_1.bias has the shape \(7,\); .* \[8\]"),
        ({"normalize.weight": torch.zeros(3, 1, 1, 1)}, r"normalize.weight has .* \[C, 3, 1, 1\]"),
        ({"embed1_1.weight": torch.zeros(9, 7, 1, 1)}, r"embed1_1.weight has .* \[C, 8, 1, 1\]"),
        ({"embed1_2.weight": torch.zeros(9, 8, 1, 1)}, "embed1_2.weight belongs to no layer"),
        ({"fc6.weight": torch.zeros(9, 8)}, "fc6.weight belongs to no layer"),
        ({"normalize.bias": torch.zeros(3)}, "normalize.bias has no normalize.weight"),
        ({"conv1_1.bias": torch.full((8,), torch.nan)}, "conv1_1.bias holds values"),
        ({"conv1_1.bias": torch.zeros(8, dtype=torch.int8)}, "conv1_1.bias holds values"),
        ({"conv2_3.weight": torch.zeros(8, 8, 3, 3)}, "conv2_3 has no convolution before it"),
    ],
)
def test_weights_that_do_not_fit_together_are_an_error(
    tmp_path: Path, change: dict[str, Tensor], words: str
) -> None:
    path = tmp_path / "loss.safetensors"
    save_file(loss_weights() | change, path)
    with pytest.raises(LossNetworkError, match=rf"loss\.safetensors: {words}"):
        load_loss_network(str(path))


def test_a_file_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "loss.safetensors"
    save_file(loss_weights(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LossNetworkError, match="not a readable safetensors file"):
        load_loss_network(str(path))


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("wrong hash")])
def test_a_failed_download_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    with pytest.raises(LossNetworkError, match=rf"vgg19 \({error}\); connect once.*checkpoints"):
        load_loss_network("vgg19")


def test_compressed_embeddings_have_the_same_losses_in_fewer_channels() -> None:
    rng = torch.Generator().manual_seed(0)
    weights = loss_weights() | {
        "embed1_1.weight": torch.randn(40, 8, 1, 1, generator=rng),
        "embed1_1.bias": torch.randn(40, generator=rng),
    }
    full, small = LossNetwork(weights), LossNetwork(weights)
    small.compress_embeddings()
    one, other = planes(1, 24, 24), planes(1, 24, 24).flip(3)
    pairs = [
        [network(image, ["relu1_1"])["relu1_1"] for image in (one, other)]
        for network in (full, small)
    ]
    assert [pair[0].shape[1] for pair in pairs] == [40, 9]
    content = [relative_error(*pair) for pair in pairs]
    style = [relative_error(*map(gram_matrix, pair)) for pair in pairs]
    torch.testing.assert_close(content[1], content[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(style[1], style[0], rtol=1e-4, atol=0)
