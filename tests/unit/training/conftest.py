"""Fixtures for the tests of training: everything that a fit needs, small."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from app.model_folder import read_folder, write_card
from tests.tools.fits import FITTED, RECIPE, TEXTURE_RECIPE
from tests.tools.generated import loss_weights, picture, write_pictures
from training.fit import validation
from training.graphs import parity


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: several slow down networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validate on small crops and compare graphs on small photos: the real ones take seconds."""
    monkeypatch.setattr(validation, "SIDE", 48)
    monkeypatch.setattr(parity, "SHAPES", ((16, 16), (41, 26)))


@pytest.fixture
def fit_place(tmp_path: Path) -> Path:
    """A folder with everything for a fit: recipe, photos, paintings, loss network."""
    write_pictures(tmp_path / "photos", 4)
    write_pictures(tmp_path / "paintings", 2)
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    (tmp_path / "tiny.toml").write_text(f'loss_network = "{tmp_path}/loss.safetensors"\n{RECIPE}')
    return tmp_path


@pytest.fixture
def style_place(tmp_path: Path, models: Path) -> Path:
    """A folder with everything to add a style: a model folder whose card contains the recipe of
    its fit, photos, a painting, a loss network.
    """
    network = tmp_path / "models" / "tiny"
    shutil.copytree(models / "tiny", network)
    card = read_folder(network).card
    write_card(network, card.model_copy(update={"fitted": {"recipe": FITTED, "steps": 9}}))
    write_pictures(tmp_path / "photos", 4)
    picture(90, 80, seed=9).save(tmp_path / "New Wave.png")
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    return tmp_path


@pytest.fixture
def texture_place(tmp_path: Path) -> Path:
    """A folder with everything for a texture fit: recipe, paintings, loss network."""
    write_pictures(tmp_path / "paintings", 2)
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    loss_network = f'loss_network = "{tmp_path}/loss.safetensors"\n'
    (tmp_path / "tiny.toml").write_text(loss_network + TEXTURE_RECIPE)
    return tmp_path
