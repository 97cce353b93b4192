"""Build the ONNX graphs of a network and check that they paint what PyTorch paints."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.fit.data import find_photos, read_image
from training.fit.errors import TrainingError
from training.fit.networks.transform import TransformNetwork
from training.graphs.build import build_graph
from training.graphs.transform import ORIGIN

GRAPHS = ("stylize", "stylize.fp16", "freeze", "apply")
# (width, height): square, wide, tall, odd, smallest, and larger than any crop in training
SHAPES = ((256, 256), (401, 263), (251, 377), (16, 16), (17, 333), (1024, 683))
SHARE = 0.999  # of all values that must be within the tolerance
TOLERANCE = {"stylize": 1, "stylize.fp16": 4, "apply": 1}  # grey levels

Pixels = NDArray[np.uint8]


class ParityError(TrainingError):
    """A graph does not paint what PyTorch paints."""


@torch.no_grad()
def paint(network: TransformNetwork, image: Pixels, style: Tensor) -> Pixels:
    """Paint with PyTorch in float32: image uint8 [N, H, W, 3], style [N, D]; returns the shape."""
    planes = torch.tensor(image).permute(0, 3, 1, 2).float() / 255
    pastiche: Tensor = network(planes, style)
    return np.asarray((pastiche * 255).round().byte().permute(0, 2, 3, 1))


def parity_photos(folder: Path) -> list[Pixels]:
    """Read photos from a folder and resize one to each of SHAPES: uint8 [H, W, 3].

    Raises DataError.
    """
    paths = find_photos(folder)
    images = (read_image(paths[i % len(paths)]) for i in range(len(SHAPES)))
    return [np.asarray(image.resize(shape)) for image, shape in zip(images, SHAPES, strict=True)]


def checked_graphs(
    network: TransformNetwork, styles: Tensor, photos: Sequence[Pixels]
) -> dict[str, bytes]:
    """Build all graphs and compare them with PyTorch; return them serialised, by name.

    styles: [S, D]. photos: uint8 [H, W, 3] each. Raises ParityError with the graph, the photo's
    shape and the difference.
    """
    graphs: dict[str, bytes] = {}
    for name in GRAPHS:
        kind = name.removesuffix(".fp16")
        model = build_graph(network, kind, half=name != kind)  # type: ignore[arg-type]
        graphs[name] = model.SerializeToString(deterministic=True)
    sessions = {
        name: ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        for name, graph in graphs.items()
    }
    for number, photo in enumerate(photos):
        image, style = photo[None], styles[number % len(styles)][None]
        painted = _paint_with_graphs(sessions, image, style.numpy())
        _compare(painted, paint(network, image, style))
    return graphs


def _paint_with_graphs(
    sessions: dict[str, ort.InferenceSession], image: Pixels, style: NDArray[np.float32]
) -> dict[str, Pixels]:
    inputs = {"image": image, "style": style}
    frozen = sessions["freeze"].run(None, inputs)[0]
    painted = {name: sessions[name].run(None, inputs)[0] for name in ("stylize", "stylize.fp16")}
    tile = {"image": image, "frozen": frozen}
    if any(given.name == ORIGIN for given in sessions["apply"].get_inputs()):
        tile[ORIGIN] = np.zeros(2, np.int64)
    painted["apply"] = sessions["apply"].run(None, tile)[0]
    return painted


def _compare(painted: dict[str, Pixels], expected: Pixels) -> None:
    _, height, width, _ = expected.shape
    for name, tolerance in TOLERANCE.items():
        difference = np.abs(painted[name].astype(np.int16) - expected)
        share = float((difference <= tolerance).mean())
        if share < SHARE:
            raise ParityError(
                f"{name}: on a photo of {width}x{height} only {share:.2%} of the values are within "
                f"{tolerance} of PyTorch's (largest difference: {difference.max()}); "
                "nothing was written"
            )
