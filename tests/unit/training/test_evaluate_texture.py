import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from app.engine.devices.device import CPU, Device
from app.engine.generator import Generator
from app.model_folder import read_folder
from tests.tools.generated import loss_weights, picture
from tests.tools.textures import TEXTURES, add_generator
from training import evaluate_texture
from training.scoring.contact_sheet import LABEL
from training.scoring.textures import evaluation

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with a generator, a painting for each texture, a loss network."""
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    add_generator(tmp_path / "tiny")
    (tmp_path / "paintings").mkdir()
    for number, id in enumerate(TEXTURES):
        picture(160, 150, number).save(tmp_path / "paintings" / f"{id}.png")
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    return tmp_path


def arguments(place: Path, *more: str) -> list[str]:
    paths = {"paintings": "paintings", "loss-network": "loss.safetensors", "json": "out/s.json"}
    options = [f"--{name}={place / path}" for name, path in paths.items()]
    return [str(place / "tiny"), *options, "--side=136", *more]


def test_every_texture_is_made_by_the_graph_and_judged(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = place / "out" / "sheet.png"
    assert evaluate_texture.main(arguments(place, f"--sheet={sheet}")) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "wasserstein"
    assert sorted(line.split()[0] for line in lines) == sorted(TEXTURES)
    scores = json.loads((place / "out" / "s.json").read_text())
    for found in scores.values():
        assert all(0 < b["floor"] < b["ceiling"] for b in found["wasserstein"].values())
        assert found["copies"] is False

    generator = Generator(read_folder(place / "tiny"), Device("cpu", CPU, "float32"))
    first = evaluation.make_texture(generator, sorted(TEXTURES)[0], 136, 0)
    assert first.shape == (136, 136, 3)
    side = evaluation.SHEET_SIDE
    with Image.open(sheet) as shown:
        assert shown.size == (2 * side, LABEL + 2 * side)
        cell = shown.crop((side, LABEL, 2 * side, LABEL + side)).resize((136, 136))
    assert np.abs(np.asarray(cell).astype(int) - first).mean() < 20


def test_some_textures_can_be_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "paintings" / f"{TEXTURES[1]}.png").unlink()
    assert evaluate_texture.main(arguments(place, f"--textures={TEXTURES[0]}")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert evaluate_texture.main(arguments(place)) == 1
    assert f"no painting in {place}/paintings is named {TEXTURES[1]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "option", "words"),
    [
        ("", "--textures=nothing", "tiny has no texture nothing; it has sand, warm"),
        ("no generator", "", "tiny has no textures"),
        ("small painting", "", "sand: the painting is 100x300 pixels; each side must"),
        ("", "--loss-network=none", "loss network 'none' is neither vgg16 nor vgg19 nor"),
    ],
)
def test_an_error_is_one_clear_line(
    place: Path, models: Path, capsys: pytest.CaptureFixture[str], fault: str, option: str,
    words: str,
) -> None:  # fmt: skip
    if fault == "no generator":
        shutil.copy(models / "tiny" / "network.json", place / "tiny" / "network.json")
    elif fault == "small painting":
        for path in (place / "paintings").iterdir():
            picture(100, 300).save(path)
    assert evaluate_texture.main(arguments(place, *option.split())) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
