"""The objective: what training minimises and what evaluation reports."""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from training.fit.data import load_painting
from training.fit.features import load_loss_network
from training.fit.losses import PerceptualLoss
from training.fit.recipe import DEFAULTS, Recipe

Term = TypeVar("Term", float, Tensor)


class Weights(NamedTuple):
    """The weights of the objective's terms: one number each, or [N] for a batch.

    By default variation has no weight: evaluation and Gatys' method leave it out.
    """

    content: float | Tensor = DEFAULTS["content_weight"]
    style: float | Tensor = DEFAULTS["style_weight"]
    variation: float | Tensor = 0.0


def objective(weights: Weights, content: Term, style: Term, variation: Term | None = None) -> Term:
    """Return the weighted sum of the terms. Without `variation`, its weight has no effect."""
    total: Any = weights.content * content + weights.style * style
    if variation is not None:
        total = total + weights.variation * variation
    return total  # type: ignore[no-any-return]


def evaluation_weights(recipe: Recipe) -> list[Weights]:
    """Return the weights of each style of the recipe for evaluation, without variation."""
    return [Weights(recipe.content_weight, weight) for weight in recipe.style_weights]


def training_loss(
    recipe: Recipe, objectives: Tensor, peaks: Tensor, checkerboard: Tensor
) -> Tensor:
    """Return the scalar that training minimises, from [N] objectives, peaks and checkerboards.

    The objective's logarithm makes each picture count by the share that it can still improve.
    Otherwise flat photos would dominate: their relative content error is large in any style.
    """
    total = objectives.clamp_min(1e-6).log().mean() + recipe.peak_weight * peaks.mean()
    return total + recipe.checkerboard_weight * checkerboard.mean()


def perceptual_loss(recipe: Recipe, paintings: Path, device: torch.device) -> PerceptualLoss:
    """Return the recipe's loss against its paintings, files of the folder `paintings`.

    Raises DataError, LossNetworkError.
    """
    loss_network = load_loss_network(recipe.loss_network)
    targets = [
        load_painting(paintings / style.painting, size)
        for style, size in zip(recipe.styles, recipe.painting_sizes, strict=True)
    ]
    loss = PerceptualLoss(loss_network, targets, recipe.content_layers, recipe.style_layers)
    return loss.to(device).to(memory_format=torch.channels_last)
