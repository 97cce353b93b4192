from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.fit.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_loses_its_scales(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    scales = torch.logspace(0, -1, min(shape))
    matrix = 1e-3 * (u * scales) @ v
    inner = u.T @ orthogonalised(matrix) @ v.T
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    assert (inner - inner.diagonal().diag()).abs().max() < 0.05


def fitted(optimizer_of: Callable[..., torch.optim.Optimizer], rate: float) -> float:
    # Least squares with directions of very different curvature, as a kernel of four dimensions.
    torch.manual_seed(0)
    inputs = torch.randn(64, 4 * 9) * torch.logspace(0, -2, 36)
    wanted = inputs @ torch.randn(36, 8)
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
    optimizer = optimizer_of([kernel], lr=rate)

    def loss() -> Tensor:
        return (inputs @ kernel.flatten(1).T - wanted).square().mean()

    for step in range(60):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / 60)
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss().item()


def test_muon_fits_a_kernel_further_than_plain_descent() -> None:
    start = fitted(Muon, 0.0)
    best = min(fitted(torch.optim.SGD, rate) for rate in (0.1, 1.0, 3.0))
    assert fitted(Muon, 0.8) < 0.5 * best < 0.5 * start


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="not vectors"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)


def test_a_parameter_without_gradient_stays() -> None:
    still, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([still, moved], lr=0.1)
    moved.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert torch.equal(still, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(2, 2))
