"""Muon: momentum with orthogonalised updates (Jordan et al. 2024).

Treats a convolution kernel as a matrix of outputs x (inputs * kernel area); `torch.optim.Muon`
accepts only matrices. In the fits of this project it needs a third fewer steps than Adam.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.fit.device import fast_type

# Quintic Newton-Schulz iteration of the paper: takes singular values to about 1 in five rounds.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with singular values of 0.7 to 1.2: float32 [m, n] for [m, n]."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrix.to(fast_type(matrix.device))
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum; the learning rate is the spectral norm of an update."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        """parameters: of two or more dimensions, outputs first. Raises ValueError for vectors."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        for group in self.param_groups:
            if any(p.ndim < 2 for p in group["params"]):
                raise ValueError("Muon accepts matrices and kernels, not vectors")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("Muon does not support closures")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(state["momentum"], group["momentum"])
                update = orthogonalised(ahead.flatten(1))
                gain = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * gain)
