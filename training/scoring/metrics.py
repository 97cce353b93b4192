"""Metrics of served pictures: content, style, objective, Gatys iterations and artifacts."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from app.engine.devices.device import CPU, Device
from app.engine.network import Network
from app.model_folder import ModelFolder
from training.fit.data import load_image, load_painting
from training.fit.losses import PerceptualLoss
from training.fit.objective import Weights, evaluation_weights, objective, perceptual_loss
from training.fit.recipe import Recipe
from training.scoring.artifacts import measure_artifacts
from training.scoring.curves import Curves, curve_key, network_digest
from training.scoring.gatys import Curve, gatys

MEANS = ("content", "style", "dead_blocks", "capped")  # the other metrics are medians
Metrics = dict[str, dict[str, float]]  # by style id, then by name and side: `objective_256`


@dataclass
class Plan:
    """What to measure.

    photos: by shorter side in pixels. iterations_at: sides at which Gatys' method runs, for at most
    max_evaluations. second_network: another loss network. device: of the loss networks; the
    pictures are always painted on the CPU.
    """

    photos: Mapping[int, Sequence[Path]]
    iterations_at: Sequence[int] = ()
    max_evaluations: int = 100
    curves: Curves = field(default_factory=Curves)
    second_network: str | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class _Target:
    """The painting of one style: its file, shorter side, pixels, and the objective's weights."""

    path: Path
    size: int
    picture: Tensor
    weights: Weights


def measure(folder: ModelFolder, recipe: Recipe, paintings: Path, plan: Plan) -> Metrics:
    """Return the metrics of each style of the recipe.

    content and style are means over photos, as are the shares dead_blocks and capped (searches that
    used max_evaluations, and count as that many); the others are medians. A metric that is
    undefined for every photo is left out. Raises DataError, LossNetworkError, ModelFolderError.
    """
    meter = _Meter(folder, recipe, paintings, plan)
    found: dict[str, dict[str, list[float]]] = {s.id: defaultdict(list) for s in recipe.styles}
    total = sum(len(photos) for photos in plan.photos.values()) * len(recipe.styles)
    with tqdm(total=total, unit="picture") as bar:
        for path, side in ((p, side) for side, photos in plan.photos.items() for p in photos):
            photo = (load_image(path, side) * 255).round() / 255
            contents = [_content(loss, photo.to(plan.device)) for loss in meter.losses]
            for index, style in enumerate(recipe.styles):
                bar.set_postfix_str(f"{side} px, {path.name}, {style.id}")
                values = meter.picture(index, path, side, photo, contents)
                for name, value in values.items():
                    if not math.isnan(value):
                        found[style.id][f"{name}_{side}"].append(value)
                bar.update()
    return {style_id: _summary(values) for style_id, values in found.items()}


class _Meter:
    """Everything that stays the same from picture to picture."""

    def __init__(self, folder: ModelFolder, recipe: Recipe, paintings: Path, plan: Plan) -> None:
        device = torch.device(plan.device)
        self.network = Network(folder, Device("cpu", CPU, "float32"))
        self.plan = plan
        self.vectors = [folder.styles[style.id].vector for style in recipe.styles]
        self.losses = [perceptual_loss(recipe, paintings, device)]
        if plan.second_network is not None:
            second = recipe.model_copy(update={"loss_network": plan.second_network})
            self.losses.append(perceptual_loss(second, paintings, device))
        self.digest = network_digest(self.losses[0])
        files = [paintings / style.painting for style in recipe.styles]
        self.targets = [
            _Target(path, size, load_painting(path, size), weights)
            for path, size, weights in zip(
                files, recipe.painting_sizes, evaluation_weights(recipe), strict=True
            )
        ]

    def picture(
        self, index: int, path: Path, side: int, photo: Tensor, contents: list[dict[str, Tensor]]
    ) -> dict[str, float]:
        """Paint a photo in the style `index` of the recipe and return the picture's metrics.

        contents: features of the photo, for each of `losses`.
        """
        target, device = self.targets[index], self.plan.device
        pastiche = _painted(self.network, photo, self.vectors[index])
        style_index = torch.tensor([index], device=device)
        terms = [
            _terms(loss, content, pastiche.to(device), style_index)
            for loss, content in zip(self.losses, contents, strict=True)
        ]
        objectives = [objective(target.weights, content, style) for content, style in terms]
        values = dict(zip(("objective", "objective_second"), objectives, strict=False))
        values |= dict(zip(("content", "style"), terms[0], strict=True))
        values |= measure_artifacts(pastiche, photo, target.picture)
        if side in self.plan.iterations_at:
            limit = self.plan.max_evaluations
            search = _Search(
                self.losses[0], photo.to(device), style_index, target.weights, objectives[0], limit
            )
            key = curve_key(path, side, target.path, target.size, target.weights, self.digest)
            needed = self.plan.curves.evaluations_to(objectives[0], key, limit, search)
            values["iterations"] = needed or limit
            values["capped"] = float(needed is None)
        return values


@dataclass(frozen=True)
class _Search:
    """Gatys' method, until it reaches the objective of a pastiche."""

    loss: PerceptualLoss
    photo: Tensor
    style_index: Tensor
    weights: Weights
    target: float
    evaluations: int

    def __call__(self, curve: Curve) -> None:
        with tqdm(
            total=self.evaluations, unit="evaluation", desc="L-BFGS", leave=False, position=1
        ) as bar:
            gatys(
                self.loss,
                self.photo,
                self.style_index,
                self.weights,
                evaluations=self.evaluations,
                target=self.target,
                curve=curve,
                on_evaluation=lambda curve: bar.update(),
            )


def _painted(network: Network, photo: Tensor, vector: np.ndarray) -> Tensor:
    pixels = np.asarray((photo * 255).round().byte().permute(0, 2, 3, 1))
    painted = network.paint(pixels, vector[None])
    return torch.tensor(painted).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _content(loss: PerceptualLoss, photo: Tensor) -> dict[str, Tensor]:
    return loss.network(photo, list(loss.content.weights))  # type: ignore[no-any-return]


@torch.no_grad()
def _terms(
    loss: PerceptualLoss, content: dict[str, Tensor], pastiche: Tensor, index: Tensor
) -> tuple[float, float]:
    features = loss.network(pastiche, loss.layers)
    return float(loss.content(features, content)), float(loss.style(features, index))


def _summary(found: dict[str, list[float]]) -> dict[str, float]:
    metrics = {}
    for name, values in found.items():
        average = mean if name.rpartition("_")[0] in MEANS else median
        metrics[name] = round(float(average(values)), 4)
        if name.startswith("objective_") and "second" not in name:
            metrics[f"photos_{name.rpartition('_')[2]}"] = float(len(values))
    return metrics
