"""Gatys' method: optimise the pixels of one picture (Gatys et al., arXiv:1508.06576)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from training.fit.losses import PerceptualLoss, total_variation
from training.fit.networks.transform import clamp_towards_range
from training.fit.objective import Weights, objective

Method = Literal["lbfgs", "adam"]

HISTORY = 100  # steps that L-BFGS remembers
ADAM_RATE = 0.02  # how far Adam moves a pixel in its first steps, for values in [0, 1]


@dataclass
class Curve:
    """The terms of every function evaluation, in order, and the best picture, [1, 3, H, W]."""

    content: list[float] = field(default_factory=list)
    style: list[float] = field(default_factory=list)
    objective: list[float] = field(default_factory=list)
    picture: Tensor | None = None

    @property
    def lowest(self) -> float:
        """The best objective so far; infinite before the first evaluation."""
        return min(self.objective, default=math.inf)


class _Finished(Exception):
    """Leaves an optimizer in the middle of a step, when it asks for one evaluation too many."""


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
    on_evaluation: Callable[[Curve], object] = lambda curve: None,
) -> Curve:
    """Optimise the pixels until the objective reaches `target` or all evaluations are used.

    photo, start: [1, 3, H, W] in [0, 1]; the search starts from the photo by default, and its first
    evaluation is of the start. style_index: int64 [1]. One evaluation computes the objective and
    its gradient once; a step of L-BFGS needs one or more. curve: filled during the search, so that
    you have it after Ctrl-C. on_evaluation: called with the curve after every evaluation.
    """
    curve = curve or Curve()
    with torch.no_grad():
        content = loss.network(photo, list(loss.content.weights))
    first = photo if start is None else start
    change = torch.zeros_like(first, memory_format=torch.contiguous_format).requires_grad_()

    def evaluate() -> float:
        if len(curve.objective) >= evaluations or (target is not None and curve.lowest <= target):
            raise _Finished
        change.grad = None
        # A plain clamp is as fast at first, but gives pixels outside the range no gradient.
        picture = clamp_towards_range(first + change)
        features = loss.network(picture, loss.layers)
        terms = (loss.content(features, content), loss.style(features, style_index))
        variation = total_variation(picture) if weights.variation else None
        total = objective(weights, *terms, variation).sum()
        total.backward()
        value = float(total.detach())
        if value < curve.lowest:
            curve.picture = picture.detach().clone()
        for row, term in zip((curve.content, curve.style), terms, strict=True):
            row.append(float(term.detach()))
        curve.objective.append(value)
        on_evaluation(curve)
        return value

    try:
        for optimizer in _optimizers(method, change, evaluations):
            optimizer.step(evaluate)
    except _Finished:
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
        # When a line search fails, restart along the gradient without the old history.
        yield torch.optim.LBFGS(
            [change],
            max_iter=evaluations,
            max_eval=evaluations + 1,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )
