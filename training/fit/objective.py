"""The objective: what training minimises and what evaluation reports."""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from training.fit.data import load_paintings
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


class Penalties(NamedTuple):
    """What a fit minimises besides the objective, per sample, [N] each, before weighting.

    adversarial: the generator's loss, times the ratio of the sample's boldness.
    """

    peaks: Tensor
    checkerboard: Tensor
    blocking: Tensor
    pattern: Tensor
    color: Tensor
    adversarial: Tensor


def objective(weights: Weights, content: Term, style: Term, variation: Term | None = None) -> Term:
    """Return the weighted sum of the terms. Without `variation`, its weight has no effect."""
    total: Any = weights.content * content + weights.style * style
    if variation is not None:
        total = total + weights.variation * variation
    return total  # type: ignore[no-any-return]


def evaluation_weights(recipe: Recipe) -> list[Weights]:
    """Return the weights of each style of the recipe for evaluation, without variation."""
    return [Weights(recipe.content_weight, weight) for weight in recipe.style_weights]


def training_loss(recipe: Recipe, objectives: Tensor, penalties: Penalties) -> Tensor:
    """Return the scalar that training minimises, from [N] objectives and penalties.

    The objective's logarithm makes each picture count by the share that it can still improve.
    Otherwise flat photos would dominate: their relative content error is large in any style.
    """
    total = objectives.clamp_min(1e-6).log().mean()
    total = total + recipe.peak_weight * penalties.peaks.mean()
    total = total + recipe.checkerboard_weight * penalties.checkerboard.mean()
    total = total + recipe.blocking_weight * penalties.blocking.mean()
    total = total + recipe.pattern_weight * penalties.pattern.mean()
    total = total + recipe.color_weight * penalties.color.mean()
    return total + recipe.adversarial_weight * penalties.adversarial.mean()


def perceptual_loss(recipe: Recipe, paintings: Path, device: torch.device) -> PerceptualLoss:
    """Return the recipe's loss against its paintings, files of the folder `paintings`.

    Raises DataError, LossNetworkError.
    """
    loss_network = load_loss_network(recipe.loss_network)
    targets = load_paintings(recipe, paintings)
    loss = PerceptualLoss(loss_network, targets, recipe.content_layers, recipe.style_layers)
    return loss.to(device).to(memory_format=torch.channels_last)
