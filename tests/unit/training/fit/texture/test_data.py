from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tools.fits import texture_recipe
from tests.tools.generated import picture
from training.fit.data import DataError
from training.fit.networks.generator import Generator
from training.fit.texture.data import TextureBatches, load_paintings, load_texture_painting


def batches(place: Path, *overrides: str, rank: int = 0) -> TextureBatches:
    recipe = texture_recipe(place, *overrides)
    paintings = load_paintings(recipe, place / "paintings")
    generator = Generator(recipe.noise_channels, recipe.widths)
    return TextureBatches(paintings, recipe, generator, rank)


def lies_in(patch: Tensor, painting: Tensor) -> bool:
    windows = painting[0].unfold(1, patch.shape[1], 1).unfold(2, patch.shape[2], 1)
    return bool((windows == patch[:, None, None]).all(-1).all(-1).all(0).any())


def test_a_painting_shrinks_to_its_longest_side(tmp_path: Path) -> None:
    picture(200, 120).save(tmp_path / "a.png")
    assert load_texture_painting(tmp_path / "a.png", 100, 32).shape == (1, 3, 60, 100)
    assert load_texture_painting(tmp_path / "a.png", 300, 32).shape == (1, 3, 120, 200)


def test_a_painting_smaller_than_the_patch_is_refused(tmp_path: Path) -> None:
    picture(200, 120).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png is 200x120 pixels, 100x60 in the fit.*patch, 64"):
        load_texture_painting(tmp_path / "a.png", 100, 64)


def test_patches_are_pieces_of_their_paintings_mirrored_only_across(texture_place: Path) -> None:
    source = batches(texture_place, "phases=[{steps=1, size=32, batch=6}]")
    batch = source[0]
    assert batch.patches.shape == (6, 3, 32, 32)
    assert set(batch.painting.tolist()) == {0, 1}
    mirrored = 0
    for patch, index in zip(batch.patches, batch.painting, strict=True):
        painting = source.paintings[int(index)]
        upright, flipped = lies_in(patch, painting), lies_in(patch.flip(2), painting)
        assert upright or flipped
        mirrored += flipped
    assert 0 < mirrored < 6


def test_a_batch_depends_on_seed_step_and_rank_alone(texture_place: Path) -> None:
    batch, again = batches(texture_place)[4], batches(texture_place)[4]
    assert torch.equal(batch.patches, again.patches)
    assert torch.equal(batch.noise, again.noise)
    for other in (
        batches(texture_place)[5],
        batches(texture_place, rank=1)[4],
        batches(texture_place, "seed=1")[4],
    ):
        assert not torch.equal(batch.noise, other.noise)
        assert not torch.equal(batch.patches, other.patches)


def test_the_noise_fits_the_generator(texture_place: Path) -> None:
    batch = batches(texture_place, "waves=[[0.2, 0.1, 0]]")[0]
    assert batch.noise.shape == (2, 3 + 1 + 1, 4 + 4, 4 + 4)
    local, constant, wave = torch.split(batch.noise, [3, 1, 1], dim=1)
    assert local.std((2, 3)).min() > 0.3
    assert constant.std((2, 3)).max() == 0
    assert constant[0, 0, 0, 0] != constant[1, 0, 0, 0]
    assert not torch.equal(wave[0], wave[1])  # at another place of a picture
    assert batch.noise.abs().max() <= 1


def test_patches_and_noise_of_a_phase_have_its_size(texture_place: Path) -> None:
    batch = batches(texture_place)[0]
    assert batch.patches.shape == (2, 3, 16, 16)
    assert batch.noise.shape == (2, 4, 8, 8)
    assert batch.reduction == 1
