import pytest
import torch

from tests.conftest import make_recipe
from training.fit.objective import Penalties, Weights, evaluation_weights, objective, training_loss


def test_the_objective_is_the_weighted_sum_of_its_terms() -> None:
    weights = Weights(2.0, 3.0, 5.0)
    assert objective(weights, 1.0, 10.0, 100.0) == 2 + 30 + 500
    assert objective(weights, 1.0, 10.0) == 2 + 30
    terms = [torch.tensor([1.0, 2.0]) * scale for scale in (1, 10, 100)]
    assert objective(weights, *terms).tolist() == [532, 1064]


def test_a_batch_can_have_one_weight_per_sample() -> None:
    weights = Weights(1.0, torch.tensor([10.0, 30.0]))
    content, style = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])
    assert objective(weights, content, style).tolist() == [11, 61]


def test_evaluation_uses_the_weight_of_each_style_and_no_variation() -> None:
    recipe = make_recipe()
    first, *others = recipe.styles
    styles = [first.model_copy(update={"style_weight": 4.0}), *others]
    weights = evaluation_weights(recipe.model_copy(update={"styles": styles}))
    assert weights == [Weights(1, 4, 0), Weights(1, 10, 0), Weights(1, 10, 0)]


def test_training_minimises_the_logarithm_of_the_objective_and_the_penalties() -> None:
    weights = {"peak_weight": 3.0, "checkerboard_weight": 0.5}
    weights |= {"blocking_weight": 17.0, "pattern_weight": 13.0}
    weights |= {"color_weight": 7.0, "adversarial_weight": 11.0}
    recipe = make_recipe().model_copy(update=weights)
    objectives = torch.tensor([1.0, torch.e**2])
    penalties = Penalties(
        peaks=torch.tensor([0.0, 2.0]),
        checkerboard=torch.tensor([4.0, 0.0]),
        blocking=torch.tensor([1.0, 1.0]),
        pattern=torch.tensor([0.0, 1.0]),
        color=torch.tensor([1.0, 3.0]),
        adversarial=torch.tensor([-2.0, 0.0]),
    )
    total = training_loss(recipe, objectives, penalties)
    assert float(total) == pytest.approx(1 + 3 + 0.5 * 2 + 17 + 13 * 0.5 + 7 * 2 - 11)
