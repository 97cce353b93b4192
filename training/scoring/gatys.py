"""Gatys' method: one picture by descent on its pixels (Gatys et al., arXiv:1508.06576)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from training.fit.losses import PerceptualLoss, total_variation
from training.fit.network import clamp_towards_range
from training.fit.recipe import Recipe

Method = Literal["lbfgs", "adam"]

HISTORY = 100  # steps that L-BFGS remembers
ADAM_RATE = 0.02  # of [0, 1], what a pixel moves in a step at first
DEFAULTS = {name: setting.default for name, setting in Recipe.model_fields.items()}


class Weights(NamedTuple):
    """What the terms of the objective count. No variation: the yardstick is bare."""

    content: float = DEFAULTS["content_weight"]
    style: float = DEFAULTS["style_weight"]
    variation: float = 0.0


@dataclass
class Curve:
    """What every function evaluation found, in order, and the best picture [1, 3, H, W] of all."""

    content: list[float] = field(default_factory=list)
    style: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    picture: Tensor | None = None

    @property
    def lowest(self) -> float:
        """The best objective so far; infinite before the first evaluation."""
        return min(self.objective, default=math.inf)


class _Enough(Exception):
    """Leaves an optimiser in the middle of its step, where it asks for one evaluation too many."""


def gatys(
    loss: PerceptualLoss,
    photo: Tensor,
    style_index: Tensor,
    weights: Weights = Weights(),  # noqa: B008  immutable
    *,
    evaluations: int,
    target: float | None = None,
    method: Method = "lbfgs",
    start: Tensor | None = None,
    curve: Curve | None = None,
    told: Callable[[Curve], object] = lambda curve: None,
) -> Curve:
    """Descend on the pixels until `target` is reached or the evaluations are used up.

    photo and start: [1, 3, H, W] in [0, 1]; the descent starts from the photo if no start is given,
    and the first evaluation is of the start itself. style_index: int64 [1]. One evaluation is the
    objective and its gradient once; L-BFGS needs one or more for a step. A curve that is given is
    filled as the descent goes, so that it is there after Ctrl-C too; `told` is called with it after
    every evaluation.
    """
    curve = curve or Curve()
    with torch.no_grad():
        content = loss.network(photo, list(loss.content.weights))
    first = photo if start is None else start
    change = torch.zeros_like(first, memory_format=torch.contiguous_format).requires_grad_()

    def evaluate() -> float:
        if len(curve.objective) >= evaluations or (target is not None and curve.lowest <= target):
            raise _Enough
        change.grad = None
        # A plain clamp is as fast at first, but the pixels that it leaves outside never come back.
        picture = clamp_towards_range(first + change)
        features = loss.network(picture, loss.layers)
        terms = (loss.content(features, content), loss.style(features, style_index))
        total = weights.content * terms[0] + weights.style * terms[1]
        if weights.variation:
            total = total + weights.variation * total_variation(picture)
        objective = total.sum()
        objective.backward()
        value = float(objective.detach())
        if value < curve.lowest:
            curve.picture = picture.detach().clone()
        for row, one in zip((curve.content, curve.style), terms, strict=True):
            row.append(float(one.detach()))
        curve.objective.append(value)
        told(curve)
        return value

    try:
        for optimizer in _optimizers(method, change, evaluations):
            optimizer.step(evaluate)
    except _Enough:
        pass
    return curve


def _optimizers(
    method: Method, change: Tensor, evaluations: int
) -> Iterator[torch.optim.Optimizer]:
    if method == "adam":
        adam = torch.optim.Adam([change], ADAM_RATE)
        while True:
            yield adam
    while True:
        # Where a line search finds no way on, a fresh memory starts along the gradient again.
        yield torch.optim.LBFGS(
            [change],
            max_iter=evaluations,
            max_eval=evaluations + 1,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )
