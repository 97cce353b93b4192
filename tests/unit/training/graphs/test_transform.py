from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from tests.conftest import make_gallery, make_recipe
from tests.tools.generated import pixels
from tests.tools.tiny import LAYOUTS, tiny_network
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.styled import StyledNetwork
from training.fit.networks.transform import moments
from training.graphs.build import build_graph
from training.graphs.parity import paint
from training.graphs.transform import Kind

Pixels = NDArray[np.uint8]
Port = tuple[str, str, list[Any]]
SHAPES = [(1, 16, 16), (1, 17, 33), (2, 31, 16), (3, 42, 27), (1, 64, 48)]


@pytest.fixture(scope="module", params=LAYOUTS)
def gallery(request: pytest.FixtureRequest) -> StyledNetwork:
    return tiny_network(LAYOUTS[request.param])


def session(gallery: StyledNetwork, kind: Kind, *, half: bool = False) -> ort.InferenceSession:
    graph = build_graph(gallery.network, kind, half=half).SerializeToString()
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions(gallery: StyledNetwork) -> dict[str, ort.InferenceSession]:
    kinds: tuple[Kind, ...] = ("stylize", "freeze", "apply")
    return {kind: session(gallery, kind) for kind in kinds}


def run(session: ort.InferenceSession, **inputs: Any) -> NDArray[Any]:
    (output,) = session.run(None, inputs)
    return np.asarray(output)


def apply(
    sessions: dict[str, ort.InferenceSession],
    image: Pixels,
    frozen: NDArray[np.float32],
    origin: tuple[int, int] = (0, 0),
) -> Pixels:
    """What `apply` paints, which takes an origin only if the network has noise."""
    inputs: dict[str, NDArray[Any]] = {"image": image, "frozen": frozen}
    if len(sessions["apply"].get_inputs()) == 3:
        inputs["origin"] = np.array(origin, np.int64)
    return run(sessions["apply"], **inputs)


def assert_the_same(painted: Pixels, expected: Pixels) -> None:
    """Within a grey level, and nearly everywhere exactly: floor is not round."""
    assert painted.shape == expected.shape
    assert painted.dtype == expected.dtype == np.uint8
    assert np.abs(painted.astype(int) - expected).max() <= 1
    assert np.mean(painted == expected) > 0.99


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_the_graphs_paint_what_pytorch_paints(
    gallery: StyledNetwork, sessions: dict[str, ort.InferenceSession], shape: tuple[int, int, int]
) -> None:
    image, styles = pixels(*shape), gallery.styles[: shape[0]]
    expected = paint(gallery.network, image, styles)
    assert expected.std() > 20  # there is something to differ in
    assert_the_same(run(sessions["stylize"], image=image, style=styles.numpy()), expected)

    planes = torch.from_numpy(image).permute(0, 3, 1, 2) / 255
    frozen = run(sessions["freeze"], image=image, style=styles.numpy())
    np.testing.assert_allclose(frozen, gallery.network.freeze(planes, styles), rtol=1e-3, atol=1e-4)
    assert_the_same(apply(sessions, image, frozen), expected)


@torch.no_grad()
def test_apply_looks_at_no_statistics(
    gallery: StyledNetwork, sessions: dict[str, ort.InferenceSession]
) -> None:
    shot, frame = pixels(1, 40, 40), pixels(1, 24, 33, seed=9)
    frozen = run(sessions["freeze"], image=shot, style=gallery.styles[:1].numpy())
    planes = torch.from_numpy(frame).permute(0, 3, 1, 2) / 255
    expected = gallery.network.apply_frozen(planes, torch.from_numpy(frozen), (16, 776)) * 255
    painted = apply(sessions, frame, frozen, (16, 776))
    assert_the_same(painted, np.asarray(expected.round().byte().permute(0, 2, 3, 1)))
    own = paint(gallery.network, frame, gallery.styles[:1])
    assert np.abs(painted.astype(int) - own).mean() > 5  # control: by its own statistics


@pytest.mark.parametrize("kind", ["stylize", "freeze", "apply"])
def test_a_graph_takes_and_gives_pixels_of_any_size(gallery: StyledNetwork, kind: Kind) -> None:
    loaded = session(gallery, kind)
    pixels, vector = ["N", "H", "W", 3], ["N", gallery.network.style_dimension]
    ports: list[Port] = [(put.name, put.type, put.shape) for put in loaded.get_inputs()]
    expected_ports: list[Port] = [
        ("image", "tensor(uint8)", pixels),
        ("frozen" if kind == "apply" else "style", "tensor(float)", vector),
    ]
    if kind == "apply" and gallery.network.has_noise:
        expected_ports.append(("origin", "tensor(int64)", [2]))
    assert ports == expected_ports
    (put,) = loaded.get_outputs()
    expected: Port = ("pastiche", "tensor(uint8)", pixels)
    if kind == "freeze":
        expected = ("frozen", "tensor(float)", vector)
    assert (put.name, put.type, put.shape) == expected


def test_in_half_precision_only_the_statistics_stay_in_float32(gallery: StyledNetwork) -> None:
    model = onnx.shape_inference.infer_shapes(build_graph(gallery.network, "stylize", half=True))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {constant.name: constant.data_type for constant in model.graph.initializer}
    found: dict[str, set[int]] = {"InstanceNormalization": set(), "Conv": set()}
    count = dict.fromkeys(found, 0)
    for node in model.graph.node:
        if node.op_type in found:
            found[node.op_type] |= {types[name] for name in [*node.input, *node.output]}
            count[node.op_type] += 1
    assert found == {"InstanceNormalization": {TensorProto.FLOAT}, "Conv": {TensorProto.FLOAT16}}
    norms = len(gallery.network.channels)
    assert count["InstanceNormalization"] == norms
    assert count["Conv"] > norms


@pytest.mark.parametrize("shape", SHAPES)
def test_the_half_graph_paints_nearly_what_pytorch_paints(
    gallery: StyledNetwork, shape: tuple[int, int, int]
) -> None:
    image, styles = pixels(*shape), gallery.styles[: shape[0]].detach()
    painted = run(session(gallery, "stylize", half=True), image=image, style=styles.numpy())
    expected = paint(gallery.network, image, styles)
    assert painted.shape == expected.shape
    difference = np.abs(painted.astype(int) - expected)
    assert np.mean(difference <= 4) > 0.99


@torch.no_grad()
def test_contrast_beyond_half_precision_does_not_break_the_half_graph() -> None:
    gallery = make_gallery(make_recipe())
    network = gallery.network
    assert isinstance(network, JohnsonNetwork)
    network.encoder[0].weight.mul_(1000)  # type: ignore[operator]
    squares = np.kron(np.indices((6, 6)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    image = np.repeat(squares[None, :, :, None], 3, axis=3)
    planes = torch.from_numpy(image).permute(0, 3, 1, 2) / 255
    _, variance = moments(network.encoder[0](planes - 0.5))
    assert variance.max() > torch.finfo(torch.float16).max
    style = gallery.styles[:1]
    painted = run(session(gallery, "stylize", half=True), image=image, style=style.numpy())
    difference = np.abs(painted.astype(int) - paint(gallery.network, image, style))
    assert np.mean(difference <= 4) > 0.99
