"""Tiny fits: their recipes, and what they leave behind."""

from pathlib import Path
from typing import Any

import torch

from app.model_folder import read_folder
from training.fit.added_style import StyleRequest, style_recipe
from training.fit.checkpoint import CHECKPOINT, read_checkpoint
from training.fit.recipe import Recipe, read_recipe
from training.fit.texture.recipe import TextureRecipe, read_texture_recipe

PAINTINGS = """
[[styles]]
id = "wave"
painting = "0.png"
title = "Wave"

[[styles]]
id = "night"
painting = "1.png"
title = "Night"
"""

RECIPE = """
width = 4
residual_blocks = 1
painting_size = 64
content_layers = {relu2_1 = 1}
style_layers = {relu1_1 = 1, relu2_1 = 1}
phases = [{steps = 6, crop = 32, batch = 2}]
"""
RECIPE += PAINTINGS
# The recipe of a fit, as a card contains it.
FITTED = {
    "loss_network": "somewhere.safetensors",
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
    "style_weight": 20.0,
    "painting_size": 64,
    "phases": [{"steps": 4000, "crop": 128}],
    "a key of a later version": 1,
}


def fit_recipe(place: Path, *overrides: str) -> Recipe:
    """The recipe of the fixture `fit_place`."""
    return read_recipe(place / "tiny.toml", overrides)


def added_recipe(place: Path) -> Recipe:
    """The recipe of a style that is added in the fixture `style_place`."""
    network = place / "models" / "tiny"
    request = StyleRequest(
        painting=place / "New Wave.png",
        network=network,
        photos=place / "photos",
        steps=6,
        crop=[32],
        batch=2,
        loss_network=str(place / "loss.safetensors"),
    )
    return style_recipe(request, read_folder(network))


def checkpoint(place: Path, run: str = "run") -> dict[str, Any]:
    return read_checkpoint(place / run / CHECKPOINT)


def assert_same(one: Any, other: Any) -> None:
    """Compare bit for bit, but for the time spent."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"seconds"}:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


TEXTURE_RECIPE = """
widths = [8, 8, 6, 4]
discriminator_widths = [6, 8]
patch = 32
local_noise = 3
global_noise = 1
gram_weight = 1.0
gram_layers = {relu1_1 = 1, relu2_1 = 1}
phases = [{steps = 3, size = 16, batch = 2}, {steps = 3, size = 32, batch = 2}]
"""
TEXTURE_RECIPE += PAINTINGS


def texture_recipe(place: Path, *overrides: str) -> TextureRecipe:
    """The recipe of the fixture `texture_place`."""
    return read_texture_recipe(place / "tiny.toml", overrides)
