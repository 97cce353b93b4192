from pathlib import Path

import pytest
import torch

from tests.conftest import make_gallery, make_recipe
from tests.tools.generated import loss_weights, planes, write_pictures
from training.fit import validation
from training.fit.data import Batches
from training.fit.features import LossNetwork
from training.fit.losses import PerceptualLoss
from training.fit.recipe import Phase, Recipe
from training.fit.validation import CROPS, held_out_crops, validate, validation_set

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path, 3)


def loss_of(recipe: Recipe) -> PerceptualLoss:
    paintings = [planes(1, 64, 64, seed=10 + i) for i in range(len(recipe.styles))]
    layers = {"relu1_1": 1.0}
    return PerceptualLoss(LossNetwork(loss_weights()), paintings, layers, layers)


def test_training_never_draws_the_held_out_crops(photos: list[Path]) -> None:
    phases = [Phase(steps=5, crop=[validation.SIDE], batch=CROPS)]
    recipe = make_recipe().model_copy(update={"phases": phases})
    crops = held_out_crops(photos, recipe, CPU)
    assert crops.shape == (CROPS, 3, 48, 48)
    assert torch.equal(crops, held_out_crops(photos, recipe, CPU))
    batches = Batches(photos, recipe)
    for step in range(recipe.steps):
        assert not torch.equal(crops, batches[step].photos.float() / 255)


def test_held_out_crops_are_never_enlarged(photos: list[Path]) -> None:
    recipe = make_recipe()
    enlarging = recipe.model_copy(update={"enlarged_share": 1.0})
    assert torch.equal(held_out_crops(photos, enlarging, CPU), held_out_crops(photos, recipe, CPU))


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_validation_set_has_crops_for_every_style(photos: list[Path], count: int) -> None:
    recipe = make_recipe(styles=tuple(f"s{i}" for i in range(count)))
    found = validation_set(photos, recipe, CPU)
    assert set(found.style_index.tolist()) == set(range(count))
    assert len(found.crops) == len(found.style_index) == max(CROPS, count)


def test_the_loss_of_a_model_is_that_of_its_styles(photos: list[Path]) -> None:
    recipe, model = make_recipe(), make_gallery(make_recipe()).eval()
    styles = [s.model_copy(update={"style_weight": 3.0 + i}) for i, s in enumerate(recipe.styles)]
    recipe, loss = recipe.model_copy(update={"styles": styles}), loss_of(recipe)
    held_out = validation_set(photos, recipe, CPU)
    measured = held_out.measure(model, loss, recipe)
    with torch.no_grad():
        pastiche = model.paint(held_out.crops, held_out.style_index)
        content, style, _ = loss(pastiche, held_out.crops, held_out.style_index)
    assert measured.content == pytest.approx(float(content.mean()), rel=1e-4)
    assert measured.style == pytest.approx(float(style.mean()), rel=1e-4)
    objectives = content + (3 + held_out.style_index) * style
    assert measured.objective == pytest.approx(float(objectives.quantile(0.5)), rel=1e-4)


def test_the_loss_of_a_vector_is_reported_by_side() -> None:
    recipe = make_recipe(styles=("warm",))
    model = make_gallery(recipe).eval()
    measured = validate(
        model.network, model.styles.detach()[0], loss_of(recipe), recipe, planes(5, 48, 48)
    )
    quality = measured.by_side()
    assert quality.keys() == {"content_48", "style_48", "objective_48"}
    assert quality["objective_48"] == round(measured.objective, 4) > 0
