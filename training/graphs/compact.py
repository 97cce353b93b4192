"""The graph of the compact layout.

Pixels are unshuffled and shuffled as bytes, which costs a quarter of moving floats; the scaling of
pixels lies in the weights of the first and the last convolution.
"""

import numpy as np
from onnx import TensorProto
from torch import nn

from training.fit.networks.compact import KERNEL, PIXEL_CHANNELS, UNSHUFFLE, Block, CompactNetwork
from training.graphs.transform import Graph, Normalise, bias_of, padded_image, weight_of


def paint(g: Graph, network: CompactNetwork, normalise: Normalise) -> str:
    """Add the network's nodes: pastiche uint8 [N, H', W', 3] of the input `image`."""
    x = g.add("Cast", _unshuffled_pixels(g, padded_image(g, network.stride)), to=g.onnx_number)
    # In [-0.5, 0.5], as float16 loses digits at 255.
    x = g.add("Sub", g.add("Mul", x, g.scalar(1 / 255)), g.scalar(0.5))
    x = normalise(g.convolve(g.pad(x, 1, "edge"), weight_of(network.stem)))
    for block in network.first:
        x = _block(g, x, block, normalise)
    skip = x
    # Unshuffling by 2 and a 1x1 convolution are one 2x2 convolution of stride 2.
    down = weight_of(network.down)[:, :, 0, 0].reshape(-1, network.quarter_width, 2, 2)
    x = g.convolve(x, down, bias_of(network.down), stride=2)
    for block in network.body:
        x = _block(g, x, block, normalise)
    x = g.convolve(x, weight_of(network.up), bias_of(network.up))
    x = g.add("Add", _shuffled(g, x, network.quarter_width, 2), normalise(skip))
    for block in network.last:
        x = _block(g, x, block, normalise)
    x = g.convolve(g.pad(x, 1, "edge"), weight_of(network.output), bias_of(network.output))
    x = g.add("Clip", g.add("Add", x, g.scalar(0.5)), g.scalar(0), g.scalar(1))
    x = g.add("Cast", g.add("Round", g.add("Mul", x, g.scalar(255))), to=TensorProto.UINT8)
    return _shuffled_pixels(g, x)


def _block(g: Graph, x: str, block: nn.Module, normalise: Normalise) -> str:
    assert isinstance(block, Block)
    weight = weight_of(block.depthwise)
    y = normalise(g.convolve(g.pad(x, KERNEL // 2, "edge"), weight, groups=len(weight)))
    y = g.add("Relu", g.convolve(y, weight_of(block.expand), bias_of(block.expand)))
    return g.add("Add", x, g.convolve(y, weight_of(block.project), bias_of(block.project)))


def _shuffled(g: Graph, x: str, channels: int, factor: int) -> str:
    # DepthToSpace, which ONNX Runtime runs on a single thread.
    sides = g.add("Shape", x, start=2, end=4)
    split = g.integers(0, channels, factor, factor)
    x = g.add("Reshape", x, g.add("Concat", split, sides, axis=0))
    x = g.add("Transpose", x, perm=[0, 1, 4, 2, 5, 3])
    larger = g.add("Mul", sides, g.integers(factor))
    return g.add("Reshape", x, g.add("Concat", g.integers(0, channels), larger, axis=0))


def _unshuffled_pixels(g: Graph, image: str) -> str:
    f, three = g.integers(UNSHUFFLE), g.integers(3)
    rows = g.add("Div", g.add("Shape", image, start=1, end=2), f)
    columns = g.add("Div", g.add("Shape", image, start=2, end=3), f)
    shape = g.add("Concat", g.integers(0), rows, f, columns, f, three, axis=0)
    x = g.add("Transpose", g.add("Reshape", image, shape), perm=[0, 5, 2, 4, 1, 3])
    shape = g.add("Concat", g.integers(0, PIXEL_CHANNELS), rows, columns, axis=0)
    return g.add("Reshape", x, shape)


def _shuffled_pixels(g: Graph, x: str) -> str:
    sides = g.add("Shape", x, start=2, end=4)
    shape = g.add("Concat", g.integers(0, 3, UNSHUFFLE, UNSHUFFLE), sides, axis=0)
    x = g.add("Transpose", g.add("Reshape", x, shape), perm=[0, 4, 2, 5, 3, 1])
    larger = g.add("Mul", sides, g.integers(UNSHUFFLE))
    return g.add("Reshape", x, g.add("Concat", g.integers(0), larger, g.integers(3), axis=0))
