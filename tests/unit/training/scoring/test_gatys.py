import pytest
import torch
from torch import Tensor

from tests.tools.generated import loss_weights, planes
from training.fit.features import LossNetwork
from training.fit.losses import PerceptualLoss
from training.fit.objective import Weights
from training.scoring import gatys as method
from training.scoring.gatys import Curve, Method, gatys

STYLE = torch.tensor([0])


@pytest.fixture
def photo() -> Tensor:
    return planes(1, 40, 48, seed=1)


@pytest.fixture
def loss() -> PerceptualLoss:
    layers = {"relu1_1": 1.0, "relu2_1": 1.0}
    return PerceptualLoss(LossNetwork(loss_weights()), [planes(1, 64, 64)], layers, layers)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
@pytest.mark.parametrize("noise", [False, True])
def test_every_method_lowers_the_objective_from_every_start(
    loss: PerceptualLoss, photo: Tensor, name: Method, noise: bool
) -> None:
    torch.manual_seed(0)
    start = torch.rand_like(photo) if noise else None
    curve = gatys(loss, photo, STYLE, evaluations=30, method=name, start=start)
    assert len(curve.objective) == 30
    assert curve.lowest < 0.5 * curve.objective[0]


def test_evaluations_match_those_of_plain_lbfgs_on_the_pixels(
    loss: PerceptualLoss, photo: Tensor
) -> None:
    pixels = photo.clone(memory_format=torch.contiguous_format).requires_grad_()
    found: list[float] = []

    def evaluate() -> float:
        pixels.grad = None
        content, style, _ = loss(pixels.clamp(0, 1), photo, STYLE)
        objective = (content + 10 * style).sum()
        objective.backward()
        found.append(float(objective.detach()))
        return found[-1]

    plain: torch.optim.Optimizer = torch.optim.LBFGS(
        [pixels], max_iter=8, line_search_fn="strong_wolfe"
    )
    plain.step(evaluate)
    curve = gatys(loss, photo, STYLE, evaluations=8)
    assert curve.objective == pytest.approx(found[:8], rel=0.1)


def test_it_starts_from_the_photo_by_default(loss: PerceptualLoss, photo: Tensor) -> None:
    assert gatys(loss, photo, STYLE, evaluations=1).content[0] < 1e-9
    assert gatys(loss, photo, STYLE, evaluations=1, start=1 - photo).content[0] > 1e-3


def test_the_picture_is_the_best_of_the_curve(
    loss: PerceptualLoss, photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        method, "ADAM_RATE", 0.7
    )  # large steps, so that the last picture is not the best
    weights = Weights(2.0, 5.0, 0.3)
    curve = gatys(loss, photo, STYLE, weights, evaluations=6, method="adam")
    assert curve.objective[-1] > curve.lowest
    assert curve.picture is not None
    assert 0 <= curve.picture.min() < curve.picture.max() <= 1
    terms = loss(curve.picture, photo, STYLE)
    objective = sum(w * float(term) for w, term in zip(weights, terms, strict=True))
    assert objective == pytest.approx(min(curve.objective), rel=1e-4)


def test_it_stops_as_soon_as_the_target_is_reached(loss: PerceptualLoss, photo: Tensor) -> None:
    whole = gatys(loss, photo, STYLE, evaluations=30)
    target = whole.objective[0] / 2
    curve = gatys(loss, photo, STYLE, evaluations=30, target=target)
    assert curve.objective[-1] <= target < min(curve.objective[:-1])
    assert len(curve.objective) < 30


def test_the_search_also_ends_at_a_perfect_picture(loss: PerceptualLoss) -> None:
    painting = planes(1, 64, 64)
    curve = gatys(loss, painting, STYLE, evaluations=7)
    assert len(curve.objective) == 7
    assert max(curve.objective) < 1e-6


def test_an_interrupt_keeps_the_curve(loss: PerceptualLoss, photo: Tensor) -> None:
    def interrupt(curve: Curve) -> None:
        if len(curve.objective) == 3:
            raise KeyboardInterrupt

    curve = Curve()
    with pytest.raises(KeyboardInterrupt):
        gatys(loss, photo, STYLE, evaluations=9, curve=curve, on_evaluation=interrupt)
    assert len(curve.objective) == len(curve.content) == len(curve.style) == 3
    assert curve.picture is not None
