from pathlib import Path

import pytest

import training
from tests.tools.fits import texture_recipe
from training.fit.recipe import RecipeError
from training.fit.texture.recipe import TextureRecipe, read_texture_recipe

SHIPPED = Path(training.__file__).parent / "recipes" / "textures.toml"


def test_the_shipped_recipe_holds_the_ten_paintings() -> None:
    recipe = read_texture_recipe(SHIPPED)
    assert recipe.name == "textures"
    assert len(recipe.styles) == 10
    assert recipe.phases[-1].size == recipe.patch


def test_a_loss_has_its_own_regularisation_by_default(texture_place: Path) -> None:
    hinge = texture_recipe(texture_place, "adversarial_loss=hinge")
    assert (hinge.penalty, hinge.spectral) == (0, True)
    wasserstein = texture_recipe(texture_place, "adversarial_loss=wasserstein")
    assert (wasserstein.penalty, wasserstein.spectral) == (10, False)
    mixed = texture_recipe(texture_place, "gradient_penalty=2", "spectral_norm=false")
    assert (mixed.penalty, mixed.spectral) == (2, False)


def test_the_noise_has_a_channel_for_each_kind(texture_place: Path) -> None:
    assert texture_recipe(texture_place, "waves=[[0.1, 0, 0]]").noise_channels == 3 + 1 + 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "adversarial_loss=least_squares",
            "adversarial_loss: Input should be 'cross_entropy', 'wasserstein' or 'hinge'",
        ),
        ("patch=20", "patch must be a multiple of 8, the stride of the generator"),
        ("widths=[8, 8, 8, 8, 8, 8]", "at least twice that"),
        ("phases=[{steps=1, size=24}]", "the size of a phase must be one of 32, 16"),
        ("phases=[{steps=1, size=16}]", "the last phase must have the size of patch, 32"),
        (
            "phases=[{steps=1, size=32}, {steps=1, size=16}, {steps=1, size=32}]",
            "the size of the one before it, or twice that",
        ),
        ("phases=[{steps=1, size=32, crop=1}]", "phases.0.crop: Extra inputs"),
        ("local_noise=0", "local_noise: Input should be greater than or equal to 1"),
        ("average=1", "average: Input should be less than 1"),
        ("gram_layers={}", "gram_layers: .*at least one layer"),
        ("painting_weight=1", "painting_weight: Extra inputs are not permitted"),
        (
            'styles=[{id="a", painting="a", title="A"}, {id="a", painting="b", title="B"}]',
            "two styles have the same id",
        ),
    ],
)
def test_an_invalid_setting_is_named(texture_place: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        texture_recipe(texture_place, override)


def test_a_dumped_recipe_can_be_validated_again(texture_place: Path) -> None:
    recipe = texture_recipe(texture_place)
    assert TextureRecipe.model_validate(recipe.model_dump()) == recipe
