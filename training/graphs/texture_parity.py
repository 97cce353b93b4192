"""Build the graph of a texture generator and check that it generates what PyTorch does."""

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.fit.networks.generator import Generator
from training.graphs.generate import generate_graph
from training.graphs.parity import SHARE, ParityError, Pixels

CELLS = ((5, 5), (12, 7), (20, 20))  # (height, width) of the noise
TOLERANCE = 1  # grey levels


@torch.no_grad()
def generate(generator: Generator, noise: NDArray[np.float32], styles: Tensor) -> Pixels:
    """Generate with PyTorch: uint8 [N, H, W, 3] for noise [N, Z, h, w] and styles [N, D]."""
    pictures: Tensor = generator(torch.from_numpy(noise), styles)
    return np.asarray((pictures * 255).round().byte().permute(0, 2, 3, 1))


def checked_graph(generator: Generator, styles: Tensor) -> bytes:
    """Build the graph, compare it with PyTorch in every style [S, D], and return it serialised.

    Raises ParityError with the style's number, the size and the difference.
    """
    graph: bytes = generate_graph(generator).SerializeToString(deterministic=True)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for number, style in enumerate(styles):
        cells = CELLS[number % len(CELLS)]
        shape = (1, generator.noise_channels, *cells)
        noise = rng.uniform(-1, 1, shape).astype(np.float32)
        expected = generate(generator, noise, style[None])
        made = session.run(None, {"noise": noise, "style": style[None].numpy()})[0]
        difference = np.abs(made.astype(np.int16) - expected)
        share = float((difference <= TOLERANCE).mean())
        if share < SHARE:
            _, height, width, _ = expected.shape
            raise ParityError(
                f"generate: in style {number} at {width}x{height} only {share:.2%} of the values "
                f"are within {TOLERANCE} of PyTorch's (largest difference: {difference.max()}); "
                "nothing was written"
            )
    return graph
