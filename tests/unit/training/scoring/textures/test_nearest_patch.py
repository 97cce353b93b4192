import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from training.scoring.textures.nearest_patch import COPIES, PATCH, copy_ratio

pytestmark = pytest.mark.usefixtures("one_thread")


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def painting() -> Tensor:
    """The cat's fur: a picture whose parts resemble each other."""
    return torch.tensor(np.asarray(data.chelsea())[60:260, 100:340]).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def other() -> Tensor:
    return torch.tensor(np.asarray(data.coffee())[80:280, 100:340]).permute(2, 0, 1)[None] / 255


def tiles(picture: Tensor, side: int) -> Tensor:
    """The picture's squares in another order."""
    rows, columns = picture.shape[2] // side, picture.shape[3] // side
    cut = picture[..., : rows * side, : columns * side].unfold(2, side, side).unfold(3, side, side)
    mixed = cut.reshape(3, -1, side, side)[:, torch.randperm(rows * columns, generator=rng())]
    grid = mixed.reshape(3, rows, columns, side, side).permute(0, 1, 3, 2, 4)
    return grid.reshape(1, 3, rows * side, columns * side)


def test_a_copy_fails(painting: Tensor) -> None:
    assert copy_ratio(painting[..., 20:180, 30:200].clone(), painting, rng()) < 0.1


def test_a_copy_in_other_colours_fails(painting: Tensor) -> None:
    recoloured = painting * torch.tensor([0.4, 0.9, 0.6])[:, None, None] + 0.1
    assert copy_ratio(recoloured, painting, rng()) < COPIES


def test_a_mosaic_of_pieces_of_the_painting_fails(painting: Tensor) -> None:
    assert copy_ratio(tiles(painting, 2 * PATCH), painting, rng()) < COPIES


def test_another_picture_and_noise_do_not_copy(painting: Tensor, other: Tensor) -> None:
    noise = torch.rand(1, 3, 160, 160, generator=rng())
    assert copy_ratio(other, painting, rng()) > COPIES
    assert copy_ratio(noise, painting, rng()) > COPIES


def test_unseen_parts_of_a_painting_are_at_about_1(painting: Tensor) -> None:
    left, right = painting[..., :120], painting[..., 120:]
    assert copy_ratio(right, left, rng()) == pytest.approx(1, abs=0.3)


def test_flat_pictures_give_a_number(painting: Tensor) -> None:
    flat = torch.full((1, 3, 96, 96), 0.5)
    assert copy_ratio(flat, painting, rng()) > COPIES
    assert copy_ratio(flat, flat, rng()) == pytest.approx(1)
