"""An exponential moving average of a network's weights.

In an adversarial fit the weights circle around a solution; their average lies closer to it
(arXiv:1806.04498; Karras et al., arXiv:1710.10196).
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """Holds `model`, a copy of another network with the average of its weights."""

    def __init__(self, source: Model, decay: float) -> None:
        """Start with a copy of the source. decay: what an update keeps of the average, 0 to 1."""
        if not 0 <= decay < 1:
            raise ValueError(f"the decay must be at least 0 and below 1, not {decay}")
        self.decay = decay
        self.model = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: Model, step: int) -> None:
        """Move towards the source after a step, counted from 1; the first steps move further."""
        keep = min(self.decay, step / (step + 10))
        parameters = zip(self.model.parameters(), source.parameters(), strict=True)
        for average, parameter in parameters:
            average.lerp_(parameter, 1 - keep)
        for own, buffer in zip(self.model.buffers(), source.buffers(), strict=True):
            own.copy_(buffer)
