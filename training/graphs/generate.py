"""The graph of a texture generator: noise and a style vector in, pixels out.

noise float32 [N, Z, h, w], style float32 [N, D] -> texture uint8 [N, H, W, 3], where
H = stride (h - margin) and W likewise.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from training.fit.networks.generator import EPSILON, SLOPE, Generator
from training.fit.networks.upsampling import UpsampledConvolution
from training.graphs.transform import IR_VERSION, OPSET, Graph, bias_of, weight_of


def generate_graph(generator: Generator) -> onnx.ModelProto:
    """Write the graph of a generator at its full resolution."""
    g = Graph(half=False)
    sizes = [c for c in generator.channels for _ in range(2)]
    pieces = iter(g.add_many("Split", "style", g.integers(*sizes), outputs=len(sizes), axis=1))
    x = g.convolve("noise", weight_of(generator.first), bias_of(generator.first))
    x = _modulate(g, _pixel_norm(g, x), next(pieces), next(pieces))
    *inner, last = generator.levels
    for level in inner:
        assert isinstance(level, UpsampledConvolution)
        x = _interleaved(g, _convolve(g, x, level), level.out_channels)
        x = _modulate(g, _pixel_norm(g, x), next(pieces), next(pieces))
    assert isinstance(last, UpsampledConvolution)
    # At full resolution only the three colours are interleaved, and not all channels.
    scale, shift = (g.add("Tile", next(pieces), g.integers(1, 4)) for _ in range(2))
    x = _modulate(g, _convolve(g, x, last), scale, shift)
    head = generator.heads[-1]
    weight, bias = 255 * np.tile(weight_of(head), (4, 1, 1, 1)), 255 * (bias_of(head) + 0.5)
    x = g.convolve(x, weight, np.tile(bias, 4), groups=4)
    x = g.add("DepthToSpace", x, blocksize=2)
    x = g.add("Round", g.add("Clip", x, g.scalar(0), g.scalar(255)))
    x = g.add("Transpose", g.add("Cast", x, to=TensorProto.UINT8), perm=[0, 2, 3, 1])
    x = g.add("Slice", x, g.integers(1, 1), g.integers(-1, -1), g.integers(1, 2))
    g.nodes.append(helper.make_node("Identity", [x], ["texture"]))
    return _model(g, generator)


def _convolve(g: Graph, x: str, level: UpsampledConvolution) -> str:
    """The level's outputs [N, 4 O, h - 1, w - 1], channels in the order (row, column, O)."""
    kernels = np.asarray(level.kernels().detach().cpu(), np.float32).transpose(1, 2, 0, 3, 4, 5)
    return g.convolve(x, kernels.reshape(-1, level.in_channels, 2, 2), np.tile(bias_of(level), 4))


def _interleaved(g: Graph, x: str, channels: int) -> str:
    """Interleave [N, 4 C, h, w], its channels in the order (row, column, C): [N, C, 2h, 2w]."""
    # Each transpose moves one axis, which ONNX Runtime does many times faster than several.
    sides = g.add("Shape", x, start=2, end=4)
    rows, end = g.add("Shape", x, start=2, end=3), g.integers(-1)
    x = g.add("Reshape", x, g.integers(0, 2, 2, -1))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2])
    shape = g.add("Concat", g.integers(0, 2, channels), sides, g.integers(2), axis=0)
    x = g.add("Reshape", x, shape)
    shape = g.add("Concat", g.integers(0, 2, channels), rows, end, axis=0)
    x = g.add("Transpose", g.add("Reshape", x, shape), perm=[0, 2, 3, 1, 4])
    twice = g.add("Mul", sides, g.integers(2))
    return g.add("Reshape", x, g.add("Concat", g.integers(0, channels), twice, axis=0))


def _pixel_norm(g: Graph, x: str) -> str:
    mean = g.add("ReduceMean", g.add("Mul", x, x), axes=[1])
    deviation = g.add("Sqrt", g.add("Add", mean, g.scalar(EPSILON)))
    return g.add("Div", x, deviation)


def _modulate(g: Graph, x: str, scale: str, shift: str) -> str:
    planes = g.integers(2, 3)
    scaled = g.add("Mul", x, g.add("Unsqueeze", scale, planes))
    shifted = g.add("Add", scaled, g.add("Unsqueeze", shift, planes))
    return g.add("LeakyRelu", shifted, alpha=SLOPE)


def _model(g: Graph, generator: Generator) -> onnx.ModelProto:
    inputs: dict[str, list[str | int]] = {
        "noise": ["N", generator.noise_channels, "h", "w"],
        "style": ["N", generator.style_dimension],
    }
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in inputs.items()
    ]
    shape: list[str | int] = ["N", "H", "W", 3]
    result = helper.make_tensor_value_info("texture", TensorProto.UINT8, shape)
    graph = helper.make_graph(g.nodes, "generate", ports, [result], g.constants)
    made = helper.make_model(
        graph,
        producer_name="pastiche",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(made, full_check=True)
    return made
