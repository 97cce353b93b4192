"""The graph of the compact layout.

Pixels are unshuffled and shuffled as bytes, which costs a quarter of moving floats.
"""

import numpy as np
from onnx import TensorProto
from torch import nn

from training.fit.networks.compact import (
    KERNEL,
    NOISE_SIDE,
    NOISE_UNIT,
    PIXEL_CHANNELS,
    UNSHUFFLE,
    Block,
    CompactNetwork,
)
from training.graphs.transform import Graph, Normalise, bias_of, padded_image, weight_of

# PyTorch unshuffles pixels into the order (RGB, row, column); bytes lie in (row, column, RGB).
BYTE_ORDER = np.arange(PIXEL_CHANNELS).reshape(3, UNSHUFFLE, UNSHUFFLE).transpose(1, 2, 0).ravel()


def paint(g: Graph, network: CompactNetwork, normalise: Normalise, origin: str | None) -> str:
    """Add the network's nodes: pastiche uint8 [N, H', W', 3] of the input `image`.

    origin: name of the input that says where in the noise the image lies; None: at its start.
    """
    x = g.add("Cast", _unshuffled_pixels(g, padded_image(g, network.stride)), to=g.onnx_number)
    # In [-0.5, 0.5], as float16 loses digits at 255.
    x = g.add("Sub", g.add("Mul", x, g.scalar(1 / 255)), g.scalar(0.5))
    x = normalise(g.convolve(g.pad(x, 1, "edge"), weight_of(network.stem)[:, BYTE_ORDER]))
    for block in network.first:
        x = _block(g, x, block, normalise)
    skip = x
    # Unshuffling by 2 and a 1x1 convolution are one 2x2 convolution of stride 2.
    down = weight_of(network.down)[:, :, 0, 0].reshape(-1, network.quarter_width, 2, 2)
    x = g.convolve(x, down, bias_of(network.down), stride=2)
    if network.has_noise:
        noise = normalise(_noise(g, network, x, origin))
        x = g.add("Add", x, g.convolve(noise, weight_of(network.mix)))
    for block in network.body:
        x = _block(g, x, block, normalise)
    # Channels in the order (row, column, C), as _shuffled takes them.
    quarter = network.quarter_width
    order = np.arange(4 * quarter).reshape(quarter, 4).T.ravel()
    x = g.convolve(g.pad(x, 1, "edge"), weight_of(network.up)[order], bias_of(network.up)[order])
    x = g.add("Add", _shuffled(g, x, quarter), normalise(skip))
    for block in network.last:
        x = _block(g, x, block, normalise)
    weight, bias = weight_of(network.output)[BYTE_ORDER], bias_of(network.output)[BYTE_ORDER]
    x = g.convolve(g.pad(x, 1, "edge"), weight, bias)
    x = g.add("Clip", g.add("Add", x, g.scalar(0.5)), g.scalar(0), g.scalar(1))
    x = g.add("Cast", g.add("Round", g.add("Mul", x, g.scalar(255))), to=TensorProto.UINT8)
    return _shuffled_pixels(g, x)


def _block(g: Graph, x: str, block: nn.Module, normalise: Normalise) -> str:
    assert isinstance(block, Block)
    weight = weight_of(block.depthwise)
    y = normalise(g.convolve(g.pad(x, KERNEL // 2, "edge"), weight, groups=len(weight)))
    y = g.add("Relu", g.convolve(y, weight_of(block.expand), bias_of(block.expand)))
    return g.add("Add", x, g.convolve(y, weight_of(block.project), bias_of(block.project)))


def _noise(g: Graph, network: CompactNetwork, x: str, origin: str | None) -> str:
    """The noise from the origin on, [N, C, h, w] for x [N, _, h, w]."""
    noise = g.constant(np.asarray(network.noise.cpu(), np.int8)[None])
    zero, one, stride = (g.scalar(number, np.int64) for number in (0, 1, network.stride))
    for axis in (2, 3):
        cells = g.add("Squeeze", g.add("Shape", x, start=axis, end=axis + 1))
        first, last = zero, cells
        if origin is not None:
            pixel = g.add("Gather", origin, g.scalar(axis - 2, np.int64))
            first = g.add("Div", pixel, stride)
            last = g.add("Add", first, cells)
        places = g.add("Mod", g.add("Range", first, last, one), g.integers(NOISE_SIDE))
        noise = g.add("Gather", noise, places, axis=axis)
    noise = g.add("Mul", g.add("Cast", noise, to=g.onnx_number), g.scalar(1 / NOISE_UNIT))
    count = g.add("Shape", x, start=0, end=1)
    return g.add("Expand", noise, g.add("Concat", count, g.integers(1, 1, 1), axis=0))


def _shuffled(g: Graph, x: str, channels: int) -> str:
    """Shuffle [N, 4 C, h, w], its channels in the order (row, column, C), to [N, C, 2h, 2w]."""
    # Each transpose moves one axis, which ONNX Runtime does many times faster than several.
    sides = g.add("Shape", x, start=2, end=4)
    x = g.add("Reshape", x, g.integers(0, 2, 2, -1))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2])
    shape = g.add("Concat", g.integers(0, 2, channels), sides, g.integers(2), axis=0)
    x = g.add("Transpose", g.add("Reshape", x, shape), perm=[0, 2, 3, 1, 4, 5])
    larger = g.add("Mul", sides, g.integers(2))
    return g.add("Reshape", x, g.add("Concat", g.integers(0, channels), larger, axis=0))


def _unshuffled_pixels(g: Graph, image: str) -> str:
    """uint8 [N, H, W, 3] to [N, 48, H/4, W/4], its channels in the order (row, column, RGB)."""
    f, row = g.integers(UNSHUFFLE), g.integers(UNSHUFFLE * 3)
    rows = g.add("Div", g.add("Shape", image, start=1, end=2), f)
    columns = g.add("Div", g.add("Shape", image, start=2, end=3), f)
    shape = g.add("Concat", g.integers(0), rows, f, g.integers(-1), axis=0)
    x = g.add("Transpose", g.add("Reshape", image, shape), perm=[0, 2, 1, 3])
    x = g.add("Reshape", x, g.add("Concat", g.integers(0, UNSHUFFLE, -1), row, axis=0))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2])
    shape = g.add("Concat", g.integers(0, PIXEL_CHANNELS), rows, columns, axis=0)
    return g.add("Reshape", x, shape)


def _shuffled_pixels(g: Graph, x: str) -> str:
    """The inverse of _unshuffled_pixels."""
    rows, columns = (g.add("Shape", x, start=i, end=i + 1) for i in (2, 3))
    x = g.add("Reshape", x, g.integers(0, UNSHUFFLE, UNSHUFFLE * 3, -1))
    x = g.add("Transpose", x, perm=[0, 1, 3, 2])
    shape = g.add("Concat", g.integers(0, UNSHUFFLE), rows, g.integers(-1), axis=0)
    x = g.add("Transpose", g.add("Reshape", x, shape), perm=[0, 2, 1, 3])
    f = g.integers(UNSHUFFLE)
    sides = [g.add("Mul", side, f) for side in (rows, columns)]
    return g.add("Reshape", x, g.add("Concat", g.integers(0), *sides, g.integers(3), axis=0))
