"""Paint one photo with Gatys' method, the slow baseline, and record its curve."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from training.fit.data import SUFFIXES, DataError, load_image, load_painting
from training.fit.device import pick_device
from training.fit.features import load_loss_network
from training.fit.losses import PerceptualLoss
from training.fit.objective import Weights
from training.fit.recipe import DEFAULTS
from training.scoring.gatys import Curve, Method, gatys


@dataclass(frozen=True)
class OptimizationRequest:
    """The arguments of `training.optimize`. See its help."""

    photo: Path
    painting: Path
    out: Path
    weights: Weights
    method: Method = "lbfgs"
    start: Literal["content", "noise"] = "content"
    evaluations: int = 300
    side: int = 512
    painting_size: int = DEFAULTS["painting_size"]
    loss_network: str = DEFAULTS["loss_network"]
    curve: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Optimization:
    """The result. interrupted: whether Ctrl-C ended the search."""

    curve: Curve
    interrupted: bool


def optimize(request: OptimizationRequest) -> Optimization:
    """Run the search; write the best picture and, if asked, the curve, also after Ctrl-C.

    Raises DataError, LossNetworkError, DeviceUnavailable before the search.
    """
    # Before the search, which takes minutes.
    if request.out.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"cannot write {request.out}: the suffix must be one of {' '.join(sorted(SUFFIXES))}"
        )
    request.out.parent.mkdir(parents=True, exist_ok=True)
    device = pick_device(request.device)
    photo = load_image(request.photo, request.side).to(device)
    painting = load_painting(request.painting, request.painting_size)
    network = load_loss_network(request.loss_network)
    layers = DEFAULTS["content_layers"], DEFAULTS["style_layers"]
    loss = PerceptualLoss(network, [painting], *layers).to(device)
    result = _search(request, loss, photo)
    if result.curve.picture is not None:
        write_picture(request.out, result.curve.picture)
    if request.curve is not None:
        write_curve(request.curve, result.curve)
    return result


def write_curve(path: Path, curve: Curve) -> None:
    """Write the curve as CSV: evaluation (from 1), content, style, total."""
    rows = zip(curve.content, curve.style, curve.objective, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["evaluation", "content", "style", "total"])
        writer.writerows([number, *row] for number, row in enumerate(rows, 1))


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture [1, 3, H, W] in [0, 1]; the suffix of the path determines the format."""
    planes = (picture[0].permute(1, 2, 0) * 255).round().byte().cpu()
    Image.fromarray(np.asarray(planes)).save(path, quality=95)


def _search(request: OptimizationRequest, loss: PerceptualLoss, photo: Tensor) -> Optimization:
    curve = Curve()
    with tqdm(total=request.evaluations, unit="evaluation") as bar:

        def report(curve: Curve) -> None:
            bar.set_postfix_str(
                f"content {curve.content[-1]:.3f} style {curve.style[-1]:.4f} "
                f"lowest {curve.lowest:.4f}"
            )
            bar.update()

        try:
            gatys(
                loss,
                photo,
                torch.zeros(1, dtype=torch.int64, device=photo.device),
                request.weights,
                evaluations=request.evaluations,
                method=request.method,
                start=_noise(photo) if request.start == "noise" else None,
                curve=curve,
                on_evaluation=report,
            )
        except KeyboardInterrupt:
            return Optimization(curve, interrupted=True)
    return Optimization(curve, interrupted=False)


def _noise(photo: Tensor) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(photo.shape, generator=rng).to(photo.device)
