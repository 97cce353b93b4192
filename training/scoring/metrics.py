"""The figures of served pictures: content, style, objective, Gatys-equivalents and artefacts."""

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

from app.engine.device import CPU, Device
from app.engine.network import Network
from app.model_folder import ModelFolder
from training.fit.data import load_image, load_painting
from training.fit.losses import PerceptualLoss
from training.fit.objective import perceptual_loss
from training.fit.recipe import Recipe
from training.scoring.artifacts import artefacts
from training.scoring.curves import Curves, curve_key, network_digest
from training.scoring.gatys import Curve, Weights, gatys

MEANS = ("content", "style", "dead_blocks", "capped")  # of the others the median is told
Figures = dict[str, dict[str, float]]


@dataclass
class Plan:
    """What is judged at which price. photos: by shorter side in pixels."""

    photos: Mapping[int, Sequence[Path]]
    equivalents_at: Sequence[int] = ()  # sides at which Gatys' method is run
    most_evaluations: int = 100
    curves: Curves = field(default_factory=Curves)
    second_network: str | None = None
    device: str = "cpu"  # of the loss networks; the pictures are painted on the CPU


def measure(folder: ModelFolder, recipe: Recipe, paintings: Path, plan: Plan) -> Figures:
    """Figures of each style of the recipe, by name and side, such as `objective_256`.

    content and style are means over photos, as are the shares dead_blocks and capped (searches that
    hit plan.most_evaluations, and count as that many); the others are medians. A measure that no
    photo allows is left out. Raises DataError, LossNetworkError, ModelFolderError.
    """
    network = Network(folder, Device("cpu", CPU, "float32"))
    device = torch.device(plan.device)
    losses = [perceptual_loss(recipe, paintings, device)]
    if plan.second_network is not None:
        second = recipe.model_copy(update={"loss_network": plan.second_network})
        losses.append(perceptual_loss(second, paintings, device))
    judged = [Weights(recipe.content_weight, weight) for weight in recipe.style_weights]
    digest = network_digest(losses[0])
    targets = []
    for style, size in zip(recipe.styles, recipe.painting_sizes, strict=True):
        path = paintings / style.painting
        targets.append((path, size, load_painting(path, size)))
    found: dict[str, dict[str, list[float]]] = {s.id: defaultdict(list) for s in recipe.styles}
    total = sum(len(photos) for photos in plan.photos.values()) * len(recipe.styles)
    with tqdm(total=total, unit="picture") as bar:
        for path, side in ((p, side) for side, photos in plan.photos.items() for p in photos):
            photo = (load_image(path, side) * 255).round() / 255
            contents = [_content(loss, photo.to(plan.device)) for loss in losses]
            for number, (style, target) in enumerate(zip(recipe.styles, targets, strict=True)):
                bar.set_postfix_str(f"{side} px, {path.name}, {style.id}")
                pastiche = _painted(network, photo, folder.styles[style.id].vector)
                index = torch.tensor([number], device=plan.device)
                rows = [
                    _terms(loss, content, pastiche.to(plan.device), index)
                    for loss, content in zip(losses, contents, strict=True)
                ]
                weights = judged[number]
                objectives = [weights.content * c + weights.style * s for c, s in rows]
                values = dict(zip(("objective", "objective_second"), objectives, strict=False))
                values |= dict(zip(("content", "style"), rows[0], strict=True))
                values |= artefacts(pastiche, photo, target[2])
                if side in plan.equivalents_at:
                    needed = plan.curves.evaluations_to(
                        objectives[0],
                        curve_key(path, side, target[0], target[1], weights, digest),
                        plan.most_evaluations,
                        _Search(losses[0], photo, index, weights, objectives[0], plan),
                    )
                    values["iterations"] = needed or plan.most_evaluations
                    values["capped"] = float(needed is None)
                for name, value in values.items():
                    if not math.isnan(value):
                        found[style.id][f"{name}_{side}"].append(value)
                bar.update()
    return {style_id: _summary(values) for style_id, values in found.items()}


@dataclass(frozen=True)
class _Search:
    loss: PerceptualLoss
    photo: Tensor
    index: Tensor
    weights: Weights
    target: float
    plan: Plan

    def __call__(self, curve: Curve) -> None:
        most = self.plan.most_evaluations
        bar = tqdm(total=most, unit="evaluation", desc="L-BFGS", leave=False, position=1)
        with bar:
            gatys(
                self.loss,
                self.photo.to(self.plan.device),
                self.index,
                self.weights,
                evaluations=most,
                target=self.target,
                curve=curve,
                told=lambda curve: bar.update(),
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
    figures = {}
    for name, values in found.items():
        middle = mean if name.rpartition("_")[0] in MEANS else median
        figures[name] = round(float(middle(values)), 4)
        if name.startswith("objective_") and "second" not in name:
            figures[f"photos_{name.rpartition('_')[2]}"] = float(len(values))
    return figures
