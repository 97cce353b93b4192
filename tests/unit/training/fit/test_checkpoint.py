import shutil
from pathlib import Path

import pytest
import torch

from app.model_folder import WEIGHTS
from tests.conftest import STYLES, make_gallery, make_recipe
from training.fit.checkpoint import CHECKPOINT, start
from training.fit.recipe import RecipeError, Style

CPU = torch.device("cpu")


def test_a_style_that_the_earlier_fit_lacked_starts_at_the_mean_of_its_styles(
    tmp_path: Path,
) -> None:
    recipe = make_recipe()
    earlier = start(recipe, CPU)
    torch.nn.init.normal_(earlier.gallery.styles)
    earlier.save(tmp_path)
    added = Style(id="added", painting="added.png", title="Added")
    styles = [added, *reversed(recipe.styles)]
    run = start(recipe.model_copy(update={"styles": styles, "seed": 1}), CPU)
    run.start_from(tmp_path / CHECKPOINT)
    before, after = earlier.gallery.styles, run.gallery.styles
    assert torch.equal(after[1:], before.flip(0))
    assert torch.allclose(after[0], before.mean(0))
    assert run.earlier[0]["recipe"]["styles"] == [style.id for style in recipe.styles]


def test_kernels_and_vectors_have_optimisers_of_their_own() -> None:
    recipe = make_recipe().model_copy(
        update={"learning_rate": 0.3, "style_learning_rate": 0.2, "warmup": 0.5}
    )
    run = start(recipe, CPU)
    sizes = [{p.ndim for p in o.param_groups[0]["params"]} for o in run.optimizers]
    assert sizes == [{4}, {1, 2}]
    owned = [id(p) for o in run.optimizers for p in o.param_groups[0]["params"]]
    assert sorted(owned) == sorted(id(p) for p in run.gallery.parameters())
    assert [s.base_lrs for s in run.schedules] == [[0.3 / 25], [0.2 / 25]]


def test_a_fit_can_start_from_the_model_folder_of_another(models: Path) -> None:
    recipe = make_recipe("other", (*STYLES[::-1], "added"))
    run = start(recipe, CPU)
    run.start_from(models / "tiny")
    exported = make_gallery(make_recipe())
    assert torch.equal(run.gallery.styles[:3], exported.styles.flip(0))
    assert torch.allclose(run.gallery.styles[3], exported.styles.mean(0))
    weights = exported.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in run.gallery.network.state_dict().items())
    assert sorted(run.earlier[0]["recipe"]["styles"]) == sorted(STYLES)


def test_a_folder_to_start_from_must_be_a_model_folder_with_its_weights(
    models: Path, tmp_path: Path
) -> None:
    run = start(make_recipe(), CPU)
    with pytest.raises(RecipeError, match="is not a model folder"):
        run.start_from(tmp_path)
    folder = shutil.copytree(models / "tiny", tmp_path / "tiny")
    (folder / WEIGHTS).unlink()
    with pytest.raises(RecipeError, match=WEIGHTS):
        run.start_from(folder)
