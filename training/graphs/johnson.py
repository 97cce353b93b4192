"""The graph of Johnson's layout.

Some operators are put in another order than in PyTorch, where that is the same sum for less work.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from torch import nn

from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.upsampling import SUMS
from training.graphs.transform import Graph, Normalise, bias_of, padded_image, weight_of

BLOCK = 2  # pixels a side that the last convolution computes at once; divides the stride


def paint(g: Graph, network: JohnsonNetwork, normalise: Normalise) -> str:
    """Add the network's nodes: pastiche uint8 [N, H', W', 3] of the input `image`."""
    image = g.add("Transpose", padded_image(g, network.stride), perm=[0, 3, 1, 2])
    x = g.add("Cast", image, to=g.onnx_number)
    x = g.add("Sub", g.add("Mul", x, g.scalar(1 / 255)), g.scalar(0.5))
    for layer in network.encoder:
        x = g.add("Relu", normalise(_convolve(g, x, layer)))
    for block in network.residual:
        first, second = block.children()
        y = g.add("Relu", normalise(_convolve(g, x, first)))
        x = g.add("Add", x, normalise(_convolve(g, y, second)))
    for layer in network.decoder:
        x = g.add("Relu", normalise(_upsample_and_convolve(g, x, layer)))
    x = g.add("Add", _convolve_blocks(g, x, network.output), g.scalar(0.5))
    x = g.add("Clip", x, g.scalar(0), g.scalar(1))
    x = g.add("Cast", g.add("Round", g.add("Mul", x, g.scalar(255))), to=TensorProto.UINT8)
    return g.add("Transpose", x, perm=[0, 2, 3, 1])


def _convolve(g: Graph, x: str, layer: nn.Module) -> str:
    assert isinstance(layer, nn.Conv2d)
    x = g.pad(x, layer.kernel_size[0] // 2, "reflect")
    return g.convolve(x, weight_of(layer), stride=layer.stride[0])


def _upsample_and_convolve(g: Graph, x: str, layer: nn.Module) -> str:
    # See UpsampledConvolution. To reflect a doubled pixel at the edge is to repeat it.
    weight = weight_of(layer)
    outputs, inputs = weight.shape[:2]
    end = g.integers(-1)
    kernels: NDArray[np.float32] = np.einsum("aik,bjl,ockl->baocij", SUMS, SUMS, weight)
    x = g.convolve(g.pad(x, 1, "edge"), kernels.reshape(-1, inputs, 2, 2))
    rows = g.add("Shape", x, start=2, end=3)
    x = g.add("Reshape", x, g.integers(0, 2, 2 * outputs, -1))
    x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    x = g.add("Reshape", x, g.add("Concat", g.integers(0, 2, outputs), rows, end, axis=0))
    x = g.add("Transpose", x, perm=[0, 2, 3, 1, 4])
    twice = g.add("Mul", rows, g.integers(2))
    x = g.add("Reshape", x, g.add("Concat", g.integers(0, outputs), twice, end, axis=0))
    return g.add("Slice", x, g.integers(1, 1), g.integers(-1, -1), g.integers(2, 3))


def _convolve_blocks(g: Graph, x: str, layer: nn.Conv2d) -> str:
    # Three channels would leave most of each of a CPU's vectors empty: compute a block of pixels at
    # a time, each with the kernel at its place in a larger one.
    weight = weight_of(layer)
    outputs, inputs, side, _ = weight.shape
    large = side + BLOCK - 1
    kernels = np.zeros((BLOCK, BLOCK, outputs, inputs, large, large))
    for row, column in np.ndindex(BLOCK, BLOCK):
        kernels[row, column, :, :, row : row + side, column : column + side] = weight
    bias = np.tile(bias_of(layer), BLOCK**2)
    x = g.pad(x, side // 2, "reflect")
    x = g.convolve(x, kernels.reshape(-1, inputs, large, large), bias, stride=BLOCK)
    return g.add("DepthToSpace", x, blocksize=BLOCK)
