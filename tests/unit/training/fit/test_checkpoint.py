import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from app.model_folder import WEIGHTS
from tests.conftest import STYLES, make_gallery, make_recipe
from training.fit.checkpoint import (
    CHECKPOINT,
    TrainState,
    initial_state,
    load_model,
    read_checkpoint,
)
from training.fit.recipe import Phase, Recipe, RecipeError, StyleRecipe
from training.fit.weights import WeightsError

CPU = torch.device("cpu")


def test_a_style_missing_from_the_earlier_fit_starts_at_the_mean_of_its_styles(
    tmp_path: Path,
) -> None:
    recipe = make_recipe()
    earlier = initial_state(recipe, CPU)
    torch.nn.init.normal_(earlier.model.styles)
    earlier.save(tmp_path)
    added = StyleRecipe(id="added", painting="added.png", title="Added")
    styles = [added, *reversed(recipe.styles)]
    state = initial_state(recipe.model_copy(update={"styles": styles, "seed": 1}), CPU)
    state.start_from(tmp_path / CHECKPOINT)
    before, after = earlier.model.styles, state.model.styles
    assert torch.equal(after[1:], before.flip(0))
    assert torch.allclose(after[0], before.mean(0))
    assert state.earlier[0]["recipe"]["styles"] == [style.id for style in recipe.styles]


def test_kernels_and_vectors_have_separate_optimizers() -> None:
    recipe = make_recipe().model_copy(
        update={"learning_rate": 0.3, "style_learning_rate": 0.2, "warmup": 0.5}
    )
    state = initial_state(recipe, CPU)
    groups = [group["params"] for o in state.optimizers for group in o.param_groups]
    assert [{p.ndim for p in parameters} for parameters in groups] == [{4}, {2}, {1}]
    owned = [id(p) for parameters in groups for p in parameters]
    assert sorted(owned) == sorted(id(p) for p in state.model.parameters())
    other = recipe.other_learning_rate
    assert [s.base_lrs for s in state.schedules] == [[0.3 / 25], [0.2 / 25, other / 25]]


def test_depthwise_kernels_are_not_made_orthogonal() -> None:
    recipe = make_recipe().model_copy(update={"layout": "compact", "blocks": (1, 1, 1)})
    state = initial_state(recipe, CPU)
    muon = {id(p) for group in state.optimizers[0].param_groups for p in group["params"]}
    names = {n for n, p in state.model.network.named_parameters() if id(p) in muon}
    assert {"stem.weight", "body.0.expand.weight", "output.weight"} <= names
    assert "body.0.depthwise.weight" not in names


def test_a_fit_can_start_from_the_model_folder_of_another(models: Path) -> None:
    recipe = make_recipe("other", (*STYLES[::-1], "added"))
    state = initial_state(recipe, CPU)
    state.start_from(models / "tiny")
    exported = make_gallery(make_recipe())
    assert torch.equal(state.model.styles[:3], exported.styles.flip(0))
    assert torch.allclose(state.model.styles[3], exported.styles.mean(0))
    weights = exported.network.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in state.model.network.state_dict().items())
    assert sorted(state.earlier[0]["recipe"]["styles"]) == sorted(STYLES)


def started_from(place: Path, recipe: Recipe, changes: dict[str, Any]) -> TrainState:
    """A fit of another recipe that starts from a new network, and paints as that does."""
    earlier = initial_state(recipe, CPU)
    torch.nn.init.normal_(earlier.model.styles)
    earlier.save(place)
    state = initial_state(recipe.model_copy(update=changes | {"seed": 1}), CPU)
    state.start_from(place / CHECKPOINT)
    image = torch.rand(3, 3, 64, 80)
    for boldness in (0.0, 1.0):
        before, after = (s.model.paint(image, torch.arange(3), boldness) for s in (earlier, state))
        assert torch.allclose(before, after, atol=1e-5)
    return state


def compact_recipe() -> Recipe:
    return make_recipe().model_copy(
        update={
            **{"layout": "compact", "blocks": (1, 1, 1), "bold_style_weight": 20.0},
            "phases": [Phase(steps=1, crop=[64])],
        }
    )


def test_a_fit_can_start_from_a_network_with_fewer_blocks_at_its_end(tmp_path: Path) -> None:
    recipe = compact_recipe()
    started_from(tmp_path, recipe, {"blocks": (1, 1, 3)})
    for blocks in ((1, 2, 3), (1, 1, 0)):
        other = initial_state(recipe.model_copy(update={"blocks": blocks}), CPU)
        with pytest.raises(RecipeError, match="another blocks"):
            other.start_from(tmp_path / CHECKPOINT)


def test_a_fit_with_noise_can_start_from_a_network_without(tmp_path: Path) -> None:
    recipe = compact_recipe()
    started_from(tmp_path, recipe, {"noise_channels": 4}).save(tmp_path)
    other = initial_state(recipe, CPU)
    with pytest.raises(RecipeError, match="another noise_channels"):
        other.start_from(tmp_path / CHECKPOINT)


def test_a_folder_to_start_from_must_be_a_model_folder_with_its_weights(
    models: Path, tmp_path: Path
) -> None:
    state = initial_state(make_recipe(), CPU)
    with pytest.raises(RecipeError, match=r"cannot start from .*network\.json"):
        state.start_from(tmp_path)
    folder = shutil.copytree(models / "tiny", tmp_path / "tiny")
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=WEIGHTS):
        state.start_from(folder)


def test_the_keys_of_a_checkpoint_stay_the_same(tmp_path: Path) -> None:
    state = initial_state(make_recipe(), CPU)
    state.save(tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert content.keys() == {
        *("recipe", "gallery", "optimizers", "schedules", "step", "seconds", "earlier"),
        *("device", "torch"),
    }
    assert {name.split(".")[0] for name in content["gallery"]} == {"network", "styles"}
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_weights_that_do_not_match_the_recipe_are_an_error(tmp_path: Path) -> None:
    initial_state(make_recipe(), CPU).save(tmp_path)
    content = read_checkpoint(tmp_path / CHECKPOINT)
    with pytest.raises(WeightsError, match="do not match its recipe"):
        load_model(content | {"recipe": content["recipe"] | {"width": 8}})
