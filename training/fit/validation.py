"""Losses on crops that training does not see."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.fit.data import Batches
from training.fit.device import autocast
from training.fit.losses import PerceptualLoss
from training.fit.networks.styled import StyledNetwork
from training.fit.networks.transform import TransformNetwork
from training.fit.objective import Weights, evaluation_weights, objective
from training.fit.recipe import Phase, Recipe

SIDE = 256  # pixels
CROPS = 16
BATCH = 4  # crops painted together, and the crops that `nearest_vector` uses


@dataclass(frozen=True)
class ValidationLoss:
    """Mean content, mean style and median objective, without variation, over held-out crops."""

    content: float
    style: float
    objective: float

    def by_side(self) -> dict[str, float]:
        """Return the losses under the names of a style's quality, such as `objective_256`."""
        return {f"{name}_{SIDE}": round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True)
class ValidationSet:
    """Crops of held-out photos, one or more for each style of a fit.

    crops: float32 [N, 3, SIDE, SIDE] in [0, 1]. style_index: int64 [N].
    """

    crops: Tensor
    style_index: Tensor

    def measure(self, model: StyledNetwork, loss: PerceptualLoss, recipe: Recipe) -> ValidationLoss:
        """Return the loss of the model now, in float32."""
        vectors = model.styles.detach()[self.style_index]
        return _validation_loss(model.network, vectors, loss, recipe, self.crops, self.style_index)


def validation_set(photos: list[Path], recipe: Recipe, device: torch.device) -> ValidationSet:
    """Draw CROPS crops, or one for each style if there are more styles. Raises DataError."""
    crops = held_out_crops(photos, recipe, device)
    styles = torch.arange(max(CROPS, len(recipe.styles)), device=device)
    return ValidationSet(crops[styles % len(crops)], styles % len(recipe.styles))


def held_out_crops(photos: list[Path], recipe: Recipe, device: torch.device) -> Tensor:
    """Draw crops that no step of the recipe draws: float32 [CROPS, 3, SIDE, SIDE] in [0, 1].

    Raises DataError.
    """
    phase = Phase(steps=1, crop=[SIDE], batch=CROPS)
    as_taken = {"phases": [phase], "enlarged_share": 0.0}
    batch = Batches(photos, recipe.model_copy(update=as_taken))[recipe.steps]
    return batch.photos.to(device).float() / 255


def validate(
    network: TransformNetwork, vector: Tensor, loss: PerceptualLoss, recipe: Recipe, crops: Tensor
) -> ValidationLoss:
    """Return the loss of one style vector [D], the first style of `loss` and `recipe`.

    crops: [N, 3, H, W] in [0, 1].
    """
    index = torch.zeros(len(crops), dtype=torch.int64, device=crops.device)
    vectors = vector.expand(len(crops), -1)
    return _validation_loss(network, vectors, loss, recipe, crops, index)


@torch.no_grad()
def nearest_vector(
    network: TransformNetwork,
    vectors: Mapping[str, Tensor],
    loss: PerceptualLoss,
    recipe: Recipe,
    crops: Tensor,
) -> str:
    """Return the name of the vector with the lowest objective on the first BATCH crops."""
    stacked = torch.stack(list(vectors.values()))
    index = torch.zeros(len(stacked), dtype=torch.int64, device=crops.device)
    weights, rows = evaluation_weights(recipe)[0], []
    # Each crop in all vectors together, so that its own features are computed once.
    for photo in torch.split(crops[:BATCH], 1):
        with autocast(crops.device):
            painted = network(photo.expand(len(stacked), -1, -1, -1), stacked)
            content, style, _ = loss(painted, photo, index)
        rows.append(objective(weights, content, style))
    objectives = torch.stack(rows).quantile(0.5, dim=0)
    return list(vectors)[int(objectives.argmin())]


@torch.no_grad()
def _validation_loss(
    network: TransformNetwork,
    vectors: Tensor,
    loss: PerceptualLoss,
    recipe: Recipe,
    crops: Tensor,
    style_index: Tensor,
) -> ValidationLoss:
    rows = []
    batches = (torch.split(tensor, BATCH) for tensor in (crops, vectors, style_index))
    for photos, styles, index in zip(*batches, strict=True):
        content, style, _ = loss(network(photos, styles), photos, index)
        rows.append(torch.stack([content, style]))
    content, style = torch.cat(rows, dim=1).cpu()
    style_weights = torch.tensor([w.style for w in evaluation_weights(recipe)])
    weights = Weights(recipe.content_weight, style_weights[style_index.cpu()])
    objectives = objective(weights, content, style)
    return ValidationLoss(
        float(content.mean()), float(style.mean()), float(objectives.quantile(0.5))
    )
