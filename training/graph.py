"""The transform network as an ONNX graph, written operator by operator.

Written rather than traced: padding and cropping follow any H and W at run time, uint8 goes in and
comes out, and in half precision exactly the normalisations stay in float32.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.network import EPSILON, STRIDE, TransformNetwork

OPSET = 17
IR_VERSION = 9

Kind = Literal["stylize", "freeze", "apply"]
Normalise = Callable[[str, str, str], str]


class _Graph:
    """Nodes and constants in the order they are added; every method returns an output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        return self.add_many(operator, *inputs, outputs=1, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        names = [f"{operator.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))


def build_graph(network: TransformNetwork, kind: Kind, *, half: bool = False) -> onnx.ModelProto:
    """Write a graph of the network.

    stylize: image uint8 [N, H, W, 3], style float32 [N, D] -> pastiche uint8 [N, H, W, 3].
    freeze:  image, style -> frozen float32 [N, D], the image's statistics folded into the style.
    apply:   image, frozen -> pastiche, without looking at the image's statistics.
    half: convolutions in float16; normalisation statistics stay in float32, whose range they need.
    """
    g = _Graph()
    number = np.float16 if half else np.float32
    onnx_number = TensorProto.FLOAT16 if half else TensorProto.FLOAT

    def scalar(value: float, dtype: type[np.generic] = number) -> str:
        return g.constant(np.array(value, dtype=dtype))

    vector = "frozen" if kind == "apply" else "style"
    sizes = [c for c in network.channels for _ in range(2)]
    split = g.add_many("Split", vector, g.integers(*sizes), outputs=len(sizes), axis=1)
    pieces = iter(split)
    planes = g.integers(2, 3)
    frozen: list[str] = []

    def per_plane(x: str, gain: str, shift: str) -> str:
        scaled = g.add("Mul", x, g.add("Unsqueeze", gain, planes))
        return g.add("Add", scaled, g.add("Unsqueeze", shift, planes))

    def instance_norm(x: str, channels: int) -> str:
        scale, shift = next(pieces), next(pieces)
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        x = g.add("InstanceNormalization", x, g.constant(ones), g.constant(zeros), epsilon=EPSILON)
        return per_plane(x, scale, shift)

    def record(x: str, channels: int) -> str:
        scale, shift = next(pieces), next(pieces)
        mean = g.add("ReduceMean", x, axes=[2, 3])
        centred = g.add("Sub", x, mean)
        variance = g.add("ReduceMean", g.add("Mul", centred, centred), axes=[2, 3], keepdims=0)
        deviation = g.add("Sqrt", g.add("Add", variance, scalar(EPSILON, np.float32)))
        gain = g.add("Div", scale, deviation)
        mean = g.add("Squeeze", mean, planes)
        frozen.extend([gain, g.add("Sub", shift, g.add("Mul", gain, mean))])
        return per_plane(x, frozen[-2], frozen[-1])

    def affine(x: str, channels: int) -> str:
        return per_plane(x, next(pieces), next(pieces))

    normalise = {"stylize": instance_norm, "freeze": record, "apply": affine}[kind]

    def norm(x: str, channels: int) -> str:
        if not half:
            return normalise(x, channels)
        x = normalise(g.add("Cast", x, to=TensorProto.FLOAT), channels)
        return g.add("Cast", x, to=TensorProto.FLOAT16)

    def convolve(x: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Conv2d)
        side = layer.kernel_size[0]
        edge = side // 2
        x = g.add("Pad", x, g.integers(0, 0, edge, edge, 0, 0, edge, edge), mode="reflect")
        weights = [g.constant(layer.weight.detach().cpu().numpy().astype(number))]
        if layer.bias is not None:
            weights.append(g.constant(layer.bias.detach().cpu().numpy().astype(number)))
        stride = list(layer.stride)
        return g.add("Conv", x, *weights, kernel_shape=[side, side], strides=stride)

    # Pixels in: NHWC uint8 to NCHW in [-0.5, 0.5], padded to whole strides by reflection.
    x = g.add("Cast", g.add("Transpose", "image", perm=[0, 3, 1, 2]), to=onnx_number)
    x = g.add("Sub", g.add("Mul", x, scalar(1 / 255)), scalar(0.5))
    sides = g.add("Slice", g.add("Shape", "image"), g.integers(1), g.integers(3))
    stride = g.integers(STRIDE)
    missing = g.add("Mod", g.add("Sub", stride, g.add("Mod", sides, stride)), stride)
    pads = g.add("Concat", g.integers(0, 0, 0, 0, 0, 0), missing, axis=0)
    x = g.add("Pad", x, pads, mode="reflect")

    def width_of(layer: nn.Module) -> int:
        assert isinstance(layer, nn.Conv2d)
        return layer.out_channels

    for layer in network.encoder:
        x = g.add("Relu", norm(convolve(x, layer), width_of(layer)))
    for block in network.residual:
        first, second = block.children()
        y = g.add("Relu", norm(convolve(x, first), width_of(first)))
        x = g.add("Add", x, norm(convolve(y, second), width_of(second)))
    scales = g.constant(np.array([1, 1, 2, 2], dtype=np.float32))
    for layer in network.decoder:
        x = g.add(
            "Resize",
            x,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        x = g.add("Relu", norm(convolve(x, layer), width_of(layer)))

    if kind == "freeze":
        output = g.add("Concat", *frozen, axis=1)
        shape: list[str | int] = ["N", network.style_dimension]
        result = helper.make_tensor_value_info("frozen", TensorProto.FLOAT, shape)
    else:
        # Pixels out: clamped, rounded, cropped to the H and W that came in.
        x = g.add("Add", convolve(x, network.output), scalar(0.5))
        x = g.add("Clip", x, scalar(0), scalar(1))
        x = g.add("Cast", g.add("Round", g.add("Mul", x, scalar(255))), to=TensorProto.UINT8)
        x = g.add("Slice", x, g.integers(0, 0), sides, planes)
        output = g.add("Transpose", x, perm=[0, 2, 3, 1])
        result = helper.make_tensor_value_info("pastiche", TensorProto.UINT8, ["N", "H", "W", 3])
    g.nodes.append(helper.make_node("Identity", [output], [result.name]))

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    style_shape: list[str | int] = ["N", network.style_dimension]
    style = helper.make_tensor_value_info(vector, TensorProto.FLOAT, style_shape)
    graph = helper.make_graph(g.nodes, kind, [image, style], [result], g.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, producer_name="pastiche", opset_imports=opsets, ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model
