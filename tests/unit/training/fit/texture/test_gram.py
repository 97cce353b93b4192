from pathlib import Path

import pytest
import torch

from tests.tools.fits import texture_recipe
from training.fit.features import LossNetworkError, load_loss_network
from training.fit.texture.data import load_paintings
from training.fit.texture.gram import GramLoss


def gram_loss(place: Path, *overrides: str) -> GramLoss:
    recipe = texture_recipe(place, *overrides)
    paintings = load_paintings(recipe, place / "paintings")
    return GramLoss(load_loss_network(recipe.loss_network), paintings, recipe)


@torch.no_grad()
def test_a_patch_is_nearer_to_its_painting_than_noise_is(texture_place: Path) -> None:
    loss = gram_loss(texture_place)
    paintings = load_paintings(texture_recipe(texture_place), texture_place / "paintings")
    index = torch.tensor([0])
    own = loss(paintings[0][..., :32, :32], index)
    assert own < 0.5 * loss(paintings[1][..., :32, :32], index)
    assert own < 0.5 * loss(torch.rand(1, 3, 32, 32), index)


@torch.no_grad()
def test_small_pictures_have_no_gram_loss(texture_place: Path) -> None:
    assert gram_loss(texture_place)(torch.rand(1, 3, 16, 16), torch.tensor([0])) == 0


def test_an_unknown_layer_is_an_error(texture_place: Path) -> None:
    with pytest.raises(LossNetworkError, match="no layer relu9_1"):
        gram_loss(texture_place, "gram_layers={relu9_1=1}")
