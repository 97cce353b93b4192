"""Gatys' method itself: one picture by descent on its pixels, the slow yardstick.

    python -m training.optimize PHOTO PAINTING -o OUT

Every painted pixel is a free parameter, moved until content and style match best (Gatys et al.,
arXiv:1508.06576). Ctrl-C keeps the best picture so far.
"""

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from app.errors import DeviceUnavailable
from training.fit.data import SMALLEST_PAINTING, SUFFIXES, DataError, load_image, load_painting
from training.fit.features import LossNetworkError, load_loss_network
from training.fit.losses import PerceptualLoss
from training.scoring.gatys import DEFAULTS, Curve, Method, Weights, gatys
from training.train import pick_device


def write_curve(path: Path, curve: Curve) -> None:
    """Write the curve as CSV: evaluation (from 1), content, style, total."""
    rows = zip(curve.content, curve.style, curve.objective, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["evaluation", "content", "style", "total"])
        writer.writerows([number, *row] for number, row in enumerate(rows, 1))


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture [1, 3, H, W] in [0, 1] in the format of the path's suffix."""
    planes = (picture[0].permute(1, 2, 0) * 255).round().byte().cpu()
    Image.fromarray(np.asarray(planes)).save(path, quality=95)


def _prepared(path: Path) -> Path:
    # Asked before the long work, not after it.
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"cannot write {path}: the suffix is none of {' '.join(sorted(SUFFIXES))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def at_least(least: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """What argparse makes of a number that must not be smaller."""

    def number(text: str) -> float:
        value = kind(text)
        if not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is not at least {least:g}")
        return value

    return number


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the picture is written, 1 on a clear error, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training.optimize", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    size = at_least(SMALLEST_PAINTING)
    parser.add_argument("photo", type=Path)
    parser.add_argument("painting", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the picture to write")
    parser.add_argument("--method", default="lbfgs", choices=get_args(Method))
    parser.add_argument("--start", default="content", choices=["content", "noise"])
    parser.add_argument("--evaluations", type=at_least(1), default=300, help="of the objective")
    parser.add_argument("--side", type=size, default=512, help="the photo's shorter, pixels")
    parser.add_argument("--painting-size", type=size, default=DEFAULTS["painting_size"])
    parser.add_argument("--loss-network", default=DEFAULTS["loss_network"], help="or a file")
    for name, weight in Weights()._asdict().items():
        parser.add_argument(f"--{name}-weight", type=at_least(0, float), default=weight)
    parser.add_argument("--curve", type=Path, help="write every evaluation here, as CSV")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    options = parser.parse_args(arguments)
    weights = Weights(options.content_weight, options.style_weight, options.variation_weight)
    curve = Curve()
    try:
        out = _prepared(options.out)
        device = pick_device(options.device)
        photo = load_image(options.photo, options.side).to(device)
        painting = load_painting(options.painting, options.painting_size)
        layers = DEFAULTS["content_layers"], DEFAULTS["style_layers"]
        loss = PerceptualLoss(load_loss_network(options.loss_network), [painting], *layers)
    except (DataError, LossNetworkError, DeviceUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stopped = False
    with tqdm(total=options.evaluations, unit="evaluation") as bar:

        def tell(curve: Curve) -> None:
            bar.set_postfix_str(
                f"content {curve.content[-1]:.3f} style {curve.style[-1]:.4f} "
                f"lowest {curve.lowest:.4f}"
            )
            bar.update()

        try:
            gatys(
                loss.to(device),
                photo,
                torch.zeros(1, dtype=torch.int64, device=device),
                weights,
                evaluations=options.evaluations,
                method=options.method,
                start=_noise(photo) if options.start == "noise" else None,
                curve=curve,
                told=tell,
            )
        except KeyboardInterrupt:
            stopped = True
    if curve.picture is not None:
        write_picture(out, curve.picture)
        print(f"{out}: objective {curve.lowest:.4f} after {len(curve.objective)} evaluations")
    if options.curve:
        write_curve(options.curve, curve)
    return 130 if stopped else 0


def _noise(photo: Tensor) -> Tensor:
    dice = torch.Generator().manual_seed(0)
    return torch.rand(photo.shape, generator=dice).to(photo.device)


if __name__ == "__main__":
    sys.exit(main())
