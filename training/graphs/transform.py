"""A transform network as an ONNX graph, written operator by operator.

Written rather than traced: padding and cropping follow any H and W at run time, uint8 goes in and
comes out, and in half precision exactly the normalisations stay in float32. This module writes what
all layouts share; `johnson` and `compact` write what lies between.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.fit.networks.transform import EPSILON, TransformNetwork

OPSET = 17
IR_VERSION = 9

Kind = Literal["stylize", "freeze", "apply"]
ORIGIN = "origin"


class Graph:
    """Nodes and constants in the order they are added; every method returns an output's name."""

    def __init__(self, half: bool) -> None:
        """half: compute in float16, but for the normalisations."""
        self.half = half
        self.number = np.float16 if half else np.float32
        self.onnx_number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node of one output."""
        return self.add_many(operator, *inputs, outputs=1, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""
        names = [f"{operator.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, value: NDArray[np.generic]) -> str:
        """A constant tensor of the value's own type."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float, dtype: type[np.generic] | None = None) -> str:
        """A constant number, of the type that the graph computes in if none is given."""
        return self.constant(np.array(value, dtype=dtype or self.number))

    def weights(self, value: NDArray[Any]) -> str:
        """Constant weights, in the type that the graph computes in."""
        return self.constant(value.astype(self.number))

    def pad(self, x: str, edge: int, mode: str) -> str:
        """Pad [N, C, H, W] by `edge` pixels on every side."""
        return self.add("Pad", x, self.integers(0, 0, edge, edge, 0, 0, edge, edge), mode=mode)

    def convolve(
        self, x: str, weight: NDArray[Any], *bias: NDArray[Any], stride: int = 1, groups: int = 1
    ) -> str:
        """Convolve without padding: weight [O, I / groups, kh, kw], bias [O] if given."""
        constants = [self.weights(value) for value in (weight, *bias)]
        sides, strides = list(weight.shape[2:]), [stride, stride]
        return self.add("Conv", x, *constants, kernel_shape=sides, strides=strides, group=groups)


Normalise = Callable[[str], str]


class Normalisation:
    """The normalisations of a graph: by the image's statistics, recording them, or frozen."""

    def __init__(self, g: Graph, kind: Kind, network: TransformNetwork) -> None:
        self._g = g
        self.input = "frozen" if kind == "apply" else "style"
        sizes = [c for c in network.channels for _ in range(2)]
        split = g.add_many("Split", self.input, g.integers(*sizes), outputs=len(sizes), axis=1)
        self._pieces = iter(split)
        self.frozen: list[str] = []
        kinds = {"stylize": self._instance_norm, "freeze": self._record, "apply": self._affine}
        self._normalise = kinds[kind]

    def __call__(self, x: str) -> str:
        """Normalise [N, C, H, W] with the next scale and shift of the style vector."""
        if not self._g.half:
            return self._normalise(x)
        x = self._normalise(self._g.add("Cast", x, to=TensorProto.FLOAT))
        return self._g.add("Cast", x, to=TensorProto.FLOAT16)

    def _per_plane(self, x: str, gain: str, shift: str) -> str:
        g, planes = self._g, self._g.integers(2, 3)
        scaled = g.add("Mul", x, g.add("Unsqueeze", gain, planes))
        return g.add("Add", scaled, g.add("Unsqueeze", shift, planes))

    def _instance_norm(self, x: str) -> str:
        # The operator's scale and shift hold for a whole batch: the batch becomes one long image.
        g, end = self._g, self._g.integers(-1)
        scale, shift = (g.add("Reshape", next(self._pieces), end) for _ in range(2))
        shape, sides = g.add("Shape", x), g.add("Shape", x, start=2)
        x = g.add("Reshape", x, g.add("Concat", g.integers(1, -1), sides, axis=0))
        x = g.add("InstanceNormalization", x, scale, shift, epsilon=EPSILON)
        return g.add("Reshape", x, shape)

    def _record(self, x: str) -> str:
        g = self._g
        scale, shift = next(self._pieces), next(self._pieces)
        mean = g.add("ReduceMean", x, axes=[2, 3])
        centred = g.add("Sub", x, mean)
        variance = g.add("ReduceMean", g.add("Mul", centred, centred), axes=[2, 3], keepdims=0)
        deviation = g.add("Sqrt", g.add("Add", variance, g.scalar(EPSILON, np.float32)))
        gain = g.add("Div", scale, deviation)
        mean = g.add("Squeeze", mean, g.integers(2, 3))
        self.frozen += [gain, g.add("Sub", shift, g.add("Mul", gain, mean))]
        return self._per_plane(x, self.frozen[-2], self.frozen[-1])

    def _affine(self, x: str) -> str:
        return self._per_plane(x, next(self._pieces), next(self._pieces))


def model(
    g: Graph, kind: Kind, network: TransformNetwork, normalise: Normalisation, pastiche: str
) -> onnx.ModelProto:
    """Close a graph. pastiche: uint8 [N, H', W', 3] with padding, which is cropped here."""
    if kind == "freeze":
        output = g.add("Concat", *normalise.frozen, axis=1)
        shape: list[str | int] = ["N", network.style_dimension]
        result = helper.make_tensor_value_info("frozen", TensorProto.FLOAT, shape)
    else:
        sides = g.add("Shape", "image", start=1, end=3)
        output = g.add("Slice", pastiche, g.integers(0, 0), sides, g.integers(1, 2))
        result = helper.make_tensor_value_info("pastiche", TensorProto.UINT8, ["N", "H", "W", 3])
    g.nodes.append(helper.make_node("Identity", [output], [result.name]))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    vector_shape: list[str | int] = ["N", network.style_dimension]
    vector = helper.make_tensor_value_info(normalise.input, TensorProto.FLOAT, vector_shape)
    nodes = _needed(g.nodes, result.name)
    used = {name for node in nodes for name in node.input}
    constants = [constant for constant in g.constants if constant.name in used]
    inputs = [image, vector]
    if kind == "apply" and network.has_noise:
        inputs.append(helper.make_tensor_value_info(ORIGIN, TensorProto.INT64, [2]))
    graph = helper.make_graph(nodes, kind, inputs, [result], constants)
    opsets = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(
        graph, producer_name="pastiche", opset_imports=opsets, ir_version=IR_VERSION
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def _needed(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in order: `freeze` ends before the last convolution."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def padded_image(g: Graph, stride: int) -> str:
    """The input uint8 [N, H, W, 3], padded by reflection to multiples of `stride`."""
    sides, step = g.add("Shape", "image", start=1, end=3), g.integers(stride)
    missing = g.add("Mod", g.add("Sub", step, g.add("Mod", sides, step)), step)
    pads = g.add("Concat", g.integers(0, 0, 0, 0, 0), missing, g.integers(0), axis=0)
    return g.add("Pad", "image", pads, mode="reflect")


def weight_of(layer: nn.Module) -> NDArray[np.float32]:
    """A convolution's weights as an array."""
    assert isinstance(layer, nn.Conv2d)
    return np.asarray(layer.weight.detach().cpu(), np.float32)


def bias_of(layer: nn.Module) -> NDArray[np.float32]:
    """A convolution's bias as an array."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return np.asarray(layer.bias.detach().cpu(), np.float32)
