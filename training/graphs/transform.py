"""The transform network as an ONNX graph, written operator by operator.

Written rather than traced: padding and cropping follow any H and W at run time, uint8 goes in and
comes out, and in half precision exactly the normalisations stay in float32. Some operators are put
in another order than in PyTorch, where that is the same sum for less work.
"""

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from training.fit.network import EPSILON, STRIDE, TransformNetwork

OPSET = 17
IR_VERSION = 9
# Which rows of a 3x3 kernel fall on each of two pixels that were doubled, where its middle is the
# last of the first one's two, and where it is the first of the second one's.
SUMS = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]])
BLOCK = 2  # pixels a side that the last convolution computes at once; divides STRIDE

Kind = Literal["stylize", "freeze", "apply"]


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
    planes, end = g.integers(2, 3), g.integers(-1)
    frozen: list[str] = []

    def per_plane(x: str, gain: str, shift: str) -> str:
        scaled = g.add("Mul", x, g.add("Unsqueeze", gain, planes))
        return g.add("Add", scaled, g.add("Unsqueeze", shift, planes))

    def instance_norm(x: str) -> str:
        # The operator's scale and shift hold for a whole batch: the batch becomes one long image.
        scale, shift = (g.add("Reshape", next(pieces), end) for _ in range(2))
        shape, sides = g.add("Shape", x), g.add("Shape", x, start=2)
        x = g.add("Reshape", x, g.add("Concat", g.integers(1, -1), sides, axis=0))
        x = g.add("InstanceNormalization", x, scale, shift, epsilon=EPSILON)
        return g.add("Reshape", x, shape)

    def record(x: str) -> str:
        scale, shift = next(pieces), next(pieces)
        mean = g.add("ReduceMean", x, axes=[2, 3])
        centred = g.add("Sub", x, mean)
        variance = g.add("ReduceMean", g.add("Mul", centred, centred), axes=[2, 3], keepdims=0)
        deviation = g.add("Sqrt", g.add("Add", variance, scalar(EPSILON, np.float32)))
        gain = g.add("Div", scale, deviation)
        mean = g.add("Squeeze", mean, planes)
        frozen.extend([gain, g.add("Sub", shift, g.add("Mul", gain, mean))])
        return per_plane(x, frozen[-2], frozen[-1])

    def affine(x: str) -> str:
        return per_plane(x, next(pieces), next(pieces))

    normalise = {"stylize": instance_norm, "freeze": record, "apply": affine}[kind]

    def norm(x: str) -> str:
        if not half:
            return normalise(x)
        x = normalise(g.add("Cast", x, to=TensorProto.FLOAT))
        return g.add("Cast", x, to=TensorProto.FLOAT16)

    def pad(x: str, edge: int, mode: str) -> str:
        return g.add("Pad", x, g.integers(0, 0, edge, edge, 0, 0, edge, edge), mode=mode)

    def kernel(x: str, weight: NDArray[Any], *bias: str, stride: int = 1) -> str:
        sides, strides = list(weight.shape[2:]), [stride, stride]
        weights = g.constant(weight.astype(number))
        return g.add("Conv", x, weights, *bias, kernel_shape=sides, strides=strides)

    def convolve(x: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Conv2d)
        x = pad(x, layer.kernel_size[0] // 2, "reflect")
        return kernel(x, _weight(layer), stride=layer.stride[0])

    def upsample_and_convolve(x: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Conv2d)
        # Of doubled pixels a 3x3 kernel sees only 2x2 different ones. Four kernels of sums, one for
        # each place over them, paint the same, and are then interleaved (the sub-pixel convolution
        # of Shi et al., arXiv:1609.05158). To reflect a doubled pixel at the edge is to repeat it.
        kernels = np.einsum("aik,bjl,ockl->baocij", SUMS, SUMS, _weight(layer))
        x = kernel(pad(x, 1, "edge"), kernels.reshape(-1, layer.in_channels, 2, 2))
        outputs, rows = layer.out_channels, g.add("Shape", x, start=2, end=3)
        x = g.add("Reshape", x, g.integers(0, 2, 2 * outputs, -1))
        x = g.add("Transpose", x, perm=[0, 2, 3, 1])
        x = g.add("Reshape", x, g.add("Concat", g.integers(0, 2, outputs), rows, end, axis=0))
        x = g.add("Transpose", x, perm=[0, 2, 3, 1, 4])
        twice = g.add("Mul", rows, g.integers(2))
        x = g.add("Reshape", x, g.add("Concat", g.integers(0, outputs), twice, end, axis=0))
        return g.add("Slice", x, g.integers(1, 1), g.integers(-1, -1), planes)

    def convolve_blocks(x: str, layer: nn.Conv2d) -> str:
        # Three channels would leave most of each of a CPU's vectors empty: a block of pixels at a
        # time, each with the kernel at its place in a larger one.
        weight = _weight(layer)
        outputs, inputs, side, _ = weight.shape
        large = side + BLOCK - 1
        kernels = np.zeros((BLOCK, BLOCK, outputs, inputs, large, large))
        for row, column in np.ndindex(BLOCK, BLOCK):
            kernels[row, column, :, :, row : row + side, column : column + side] = weight
        assert layer.bias is not None
        bias = g.constant(np.tile(layer.bias.detach().cpu().numpy(), BLOCK**2).astype(number))
        x = pad(x, side // 2, "reflect")
        x = kernel(x, kernels.reshape(-1, inputs, large, large), bias, stride=BLOCK)
        return g.add("DepthToSpace", x, blocksize=BLOCK)

    # Pixels in: NHWC uint8 to NCHW in [-0.5, 0.5], padded to whole strides by reflection.
    x = g.add("Cast", g.add("Transpose", "image", perm=[0, 3, 1, 2]), to=onnx_number)
    x = g.add("Sub", g.add("Mul", x, scalar(1 / 255)), scalar(0.5))
    sides = g.add("Shape", "image", start=1, end=3)
    stride = g.integers(STRIDE)
    missing = g.add("Mod", g.add("Sub", stride, g.add("Mod", sides, stride)), stride)
    pads = g.add("Concat", g.integers(0, 0, 0, 0, 0, 0), missing, axis=0)
    x = g.add("Pad", x, pads, mode="reflect")

    for layer in network.encoder:
        x = g.add("Relu", norm(convolve(x, layer)))
    for block in network.residual:
        first, second = block.children()
        y = g.add("Relu", norm(convolve(x, first)))
        x = g.add("Add", x, norm(convolve(y, second)))
    for layer in network.decoder:
        x = g.add("Relu", norm(upsample_and_convolve(x, layer)))

    if kind == "freeze":
        output = g.add("Concat", *frozen, axis=1)
        shape: list[str | int] = ["N", network.style_dimension]
        result = helper.make_tensor_value_info("frozen", TensorProto.FLOAT, shape)
    else:
        # Pixels out: clamped, rounded, cropped to the H and W that came in.
        x = g.add("Add", convolve_blocks(x, network.output), scalar(0.5))
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


def _weight(layer: nn.Conv2d) -> NDArray[np.float32]:
    return np.asarray(layer.weight.detach().cpu(), np.float32)
