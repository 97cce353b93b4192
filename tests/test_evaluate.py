import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from app.card import read_folder
from training import evaluate

RECIPE = """
loss_network = "{loss}"
content_layers = {{ relu1_1 = 1.0 }}
style_layers = {{ relu1_1 = 1.0 }}
painting_size = 64
phases = [{{ steps = 1, crop = 32 }}]
styles = [{{ id = "warm", painting = "warm.png", title = "Warm" }}]
"""


@pytest.fixture
def arguments(models: Path, tmp_path: Path, photo: Image.Image) -> list[str]:
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    torch.manual_seed(0)
    weights = {"conv1_1.weight": torch.randn(4, 3, 3, 3), "conv1_1.bias": torch.zeros(4)}
    save_file(weights, tmp_path / "loss.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(loss=tmp_path / "loss.safetensors"))
    for folder in ("photos", "paintings"):
        (tmp_path / folder).mkdir()
    photo.save(tmp_path / "photos" / "cat.png")
    photo.rotate(180).save(tmp_path / "paintings" / "warm.png")
    return [
        str(tmp_path / "tiny"), "--recipe", str(tmp_path / "recipe.toml"),
        "--photos", str(tmp_path / "photos"), "--paintings", str(tmp_path / "paintings"),
    ]  # fmt: skip


def test_the_figures_are_printed_and_kept_with_the_style(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([*arguments, "--store"]) == 0
    quality = read_folder(Path(arguments[0])).styles["warm"].card.quality
    for side in (256, 512):
        assert quality[f"objective_{side}"] == pytest.approx(
            quality[f"content_{side}"] + 10 * quality[f"style_{side}"], abs=2e-3
        )
        assert quality[f"style_{side}"] > 0
    assert f"{quality['objective_256']:.4f}" in capsys.readouterr().out


def test_a_recipe_with_other_styles_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(arguments[2])
    recipe.write_text(recipe.read_text().replace('"warm",', '"nope",'))
    assert evaluate.main(arguments) == 1
    assert "has no style nope" in capsys.readouterr().err
