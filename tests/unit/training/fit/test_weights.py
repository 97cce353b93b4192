import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.model_folder import WEIGHTS, read_folder, write_card
from tests.conftest import make_gallery, make_recipe
from training.fit.weights import WeightsError, load_network


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models / "tiny", tmp_path / "tiny"))


def test_a_network_is_loaded_as_it_was_exported(folder: Path) -> None:
    loaded = load_network(read_folder(folder)).state_dict()
    exported = make_gallery(make_recipe()).network.state_dict()
    assert loaded.keys() == exported.keys()
    assert all(torch.equal(loaded[name], exported[name]) for name in loaded)


def remove(weights: Path) -> None:
    weights.unlink()


def truncate(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:999])


def change(factor: float) -> Callable[[Path], None]:
    def write(weights: Path) -> None:
        save_file({name: t * factor for name, t in load_file(weights).items()}, weights)

    return write


def drop(weights: Path) -> None:
    save_file(dict(list(load_file(weights).items())[1:]), weights)


def widen(weights: Path) -> None:
    card = read_folder(weights.parent).card
    write_card(weights.parent, card.model_copy(update={"layout": card.layout | {"width": 8}}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove, "cannot read .*weights"),
        (truncate, "weights.safetensors is not a readable safetensors file"),
        (change(float("nan")), "weights.safetensors contains values that are not finite"),
        (drop, "weights.safetensors does not match the card"),
        (
            widen,
            "weights.safetensors does not match the card: .* johnson, width 8",
        ),
    ],
)
def test_damaged_weights_are_one_clear_error(
    folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(folder / WEIGHTS)
    with pytest.raises(WeightsError, match=words):
        load_network(read_folder(folder))
