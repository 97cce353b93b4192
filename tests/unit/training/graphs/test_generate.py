import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from tests.tools.tiny import tiny_generator
from training.graphs.generate import generate_graph
from training.graphs.texture_parity import generate

Pixels = NDArray[np.uint8]
MODEL = tiny_generator()


def noise_of(count: int, height: int, width: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(height)
    return rng.uniform(-1, 1, (count, 3, height, width)).astype(np.float32)


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    graph = generate_graph(MODEL.generator).SerializeToString()
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 7, 12), (2, 6, 9)])
def test_the_graph_generates_what_pytorch_generates(
    session: ort.InferenceSession, shape: tuple[int, int, int]
) -> None:
    noise, style = noise_of(*shape), MODEL.styles[: shape[0]].detach()
    expected = generate(MODEL.generator, noise, style)
    (texture,) = session.run(None, {"noise": noise, "style": style.numpy()})
    assert texture.shape == expected.shape == (shape[0], *(8 * (n - 4) for n in shape[1:]), 3)
    assert texture.dtype == np.uint8
    assert expected.std() > 20  # there is something to differ in
    assert np.abs(texture.astype(int) - expected).max() <= 1
    assert np.mean(texture == expected) > 0.99


def test_tiles_are_exactly_parts_of_the_whole(session: ort.InferenceSession) -> None:
    noise, style = noise_of(1, 10, 13), MODEL.styles[:1].detach().numpy()
    (whole,) = session.run(None, {"noise": noise, "style": style})
    part = np.ascontiguousarray(noise[:, :, 3:10, 4:11])
    (tile,) = session.run(None, {"noise": part, "style": style})
    difference = np.abs(whole[:, 24:48, 32:56].astype(int) - tile)
    assert difference.max() <= 1
    assert np.mean(difference) < 1e-3


def test_the_ports_are_named_and_of_any_size(session: ort.InferenceSession) -> None:
    ports = [(p.name, p.type, p.shape) for p in (*session.get_inputs(), *session.get_outputs())]
    dimension = MODEL.generator.style_dimension
    assert ports == [
        ("noise", "tensor(float)", ["N", 3, "h", "w"]),
        ("style", "tensor(float)", ["N", dimension]),
        ("texture", "tensor(uint8)", ["N", "H", "W", 3]),
    ]


def test_textures_differ_with_the_noise() -> None:
    style = MODEL.styles[:1].detach()
    one, other = (generate(MODEL.generator, noise_of(1, n, 9), style) for n in (8, 9))
    assert np.abs(one[:, :32].astype(int) - other[:, :32]).mean() > 5
