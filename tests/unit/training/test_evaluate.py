import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from app.library import Pastiche
from app.model_folder import read_folder, write_card, write_style
from tests.tools.generated import loss_weights
from training import evaluate
from training.scoring import evaluation, metrics
from training.scoring.artifacts import LIMITS
from training.scoring.evaluation import SHEET_SIDE, card_recipe

RECIPE = """
loss_network = "{loss}"
content_layers = {{ relu1_1 = 1.0 }}
style_layers = {{ relu1_1 = 1.0 }}
painting_size = 64
phases = [{{ steps = 1, crop = 32 }}]
styles = [{{ id = "warm", painting = "warm.png", title = "Warm" }}]
"""


FITTED = {
    "loss_network": "elsewhere.safetensors",
    "content_layers": {"relu1_1": 1.0},
    "style_layers": {"relu1_1": 1.0},
    "style_weight": 10.0,
    "painting_size": 64,
    "phases": [{"steps": 1, "crop": 32, "batch": 4}],
    "learning_rate": 0.001,
}


@pytest.fixture
def arguments(
    models: Path, tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Arguments for one style, one photo and the recipe; everything is in tmp_path."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(loss=tmp_path / "loss.safetensors"))
    for folder in ("photos", "paintings"):
        (tmp_path / folder).mkdir()
    photo.save(tmp_path / "photos" / "cat.png")
    photo.rotate(180).save(tmp_path / "paintings" / "warm.png")
    return [
        str(tmp_path / "tiny"), "--recipe", str(tmp_path / "recipe.toml"),
        "--photos", str(tmp_path / "photos"), "--paintings", str(tmp_path / "paintings"),
        "--sides", "64", "80", "--equivalents-at", "64", "--most-evaluations", "5",
        "--json", str(tmp_path / "found.json"), "--curves", str(tmp_path / "curves.json"),
        "--device", "cpu",
    ]  # fmt: skip


def found(folder: Path) -> dict[str, dict[str, float]]:
    return json.loads((folder / "found.json").read_text())["styles"]  # type: ignore[no-any-return]


def write_recipe(folder: Path, recipe: dict[str, Any] | None) -> None:
    card = read_folder(folder).card
    write_card(folder, card.model_copy(update={"fitted": {"recipe": recipe} if recipe else {}}))


def test_metrics_are_printed_written_and_stored_with_the_style(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([*arguments, "--store"]) == 0
    quality = read_folder(tmp_path / "tiny").styles["warm"].card.quality
    assert found(tmp_path) == {"warm": quality}
    printed = capsys.readouterr().out
    for side in (64, 80):
        assert quality[f"objective_{side}"] == pytest.approx(
            quality[f"content_{side}"] + 10 * quality[f"style_{side}"], abs=2e-3
        )
        assert quality[f"style_{side}"] > 0
        assert f"{quality[f'objective_{side}']:.4f}" in printed
        assert quality[f"photos_{side}"] == 1
        for name in LIMITS.keys() - {"flat_deviation"}:
            assert f"{name}_{side}" in quality
    assert "iterations_64" in quality
    assert "iterations_80" not in quality


def test_storing_keeps_metrics_of_other_sides(arguments: list[str], tmp_path: Path) -> None:
    for side in ("64", "80"):
        assert evaluate.main([*arguments, "--sides", side, "--store"]) == 0
    quality = read_folder(tmp_path / "tiny").styles["warm"].card.quality
    assert {"objective_64", "objective_80"} <= quality.keys()


def test_the_recipe_of_the_card_gives_the_same_metrics(
    arguments: list[str], tmp_path: Path
) -> None:
    assert evaluate.main(arguments) == 0
    by_recipe = found(tmp_path)
    write_recipe(tmp_path / "tiny", FITTED)
    del arguments[1:3]
    network = ["--loss-network", str(tmp_path / "loss.safetensors"), "--styles", "warm"]
    assert evaluate.main([*arguments, *network]) == 0
    assert found(tmp_path) == by_recipe


def test_iterations_count_evaluations_until_gatys_method_is_as_low(
    arguments: list[str], tmp_path: Path
) -> None:
    assert evaluate.main(arguments) == 0
    warm = found(tmp_path)["warm"]
    (curve,) = json.loads((tmp_path / "curves.json").read_text()).values()
    number = int(warm["iterations_64"])
    assert warm["capped_64"] == 0
    assert curve[number - 1] <= warm["objective_64"] + 1e-4
    assert all(value > warm["objective_64"] - 1e-4 for value in curve[: number - 1])


def test_a_search_that_does_not_reach_the_objective_is_marked_as_capped(
    arguments: list[str],
    models: Path,
    photo: Image.Image,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The painting is the served picture itself, and only style has a weight.
    small = photo.resize((96, 64), Image.Resampling.LANCZOS)
    served = Pastiche(models, "cpu", 1).stylize(small, "warm")
    served.save(tmp_path / "paintings" / "warm.png")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("content_weight = 0.0\n" + recipe.read_text())
    assert evaluate.main([*arguments, "--sides", "64"]) == 0
    warm = found(tmp_path)["warm"]
    assert (warm["iterations_64"], warm["capped_64"]) == (5, 1)
    assert ">=5 " in capsys.readouterr().out


def test_a_second_run_reads_the_cached_curves(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(arguments) == 0
    before = found(tmp_path)

    def broken(*arguments: object, **options: object) -> None:
        raise AssertionError("the search ran again")

    monkeypatch.setattr(metrics, "gatys", broken)
    assert evaluate.main(arguments) == 0
    assert found(tmp_path) == before


def test_a_second_loss_network_adds_its_objective(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(arguments) == 0
    assert "not available" in capsys.readouterr().out
    save_file(loss_weights(seed=5), tmp_path / "second.safetensors")
    second = ["--second-network", str(tmp_path / "second.safetensors")]
    assert evaluate.main([*arguments, *second]) == 0
    assert "not available" not in capsys.readouterr().out
    warm = found(tmp_path)["warm"]
    assert warm["objective_second_64"] > 0
    assert warm["objective_second_64"] != warm["objective_64"]


def test_every_nth_photo_is_measured(
    arguments: list[str],
    tmp_path: Path,
    photo: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evaluation, "LARGE", 80)
    for number in range(5):
        photo.rotate(number).save(tmp_path / "photos" / f"{number}.png")
    every = ["--every", "2", "--every-large", "3", "--equivalents-at"]
    assert evaluate.main([*arguments, *every]) == 0
    warm = found(tmp_path)["warm"]
    assert (warm["photos_64"], warm["photos_80"]) == (3, 1)
    assert "3 photos" in capsys.readouterr().out


def test_a_painting_has_the_size_that_its_style_was_fitted_to(
    arguments: list[str], tmp_path: Path
) -> None:
    write_recipe(tmp_path / "tiny", FITTED)
    folder = read_folder(tmp_path / "tiny")
    style = folder.styles["warm"]
    for size in (None, 96):
        card = style.card.model_copy(update={"painting_size": size})
        write_style(folder.path, "warm", style.vector, card)
        folder = read_folder(folder.path)
        recipe = card_recipe(folder, ["warm"], tmp_path / "paintings")
        assert (recipe.styles[0].painting_size, recipe.painting_size) == (size, 64)


def test_a_style_has_the_weight_that_it_was_fitted_with(
    arguments: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    write_recipe(folder, FITTED)
    style = read_folder(folder).styles["warm"]
    card = style.card.model_copy(update={"style_weight": 3.0})
    write_style(folder, "warm", style.vector, card)
    recipe = card_recipe(read_folder(folder), ["warm"], tmp_path / "paintings")
    assert (recipe.style_weights, recipe.style_weight) == ([3], 10)

    text = Path(arguments[2]).read_text()
    Path(arguments[2]).write_text(text.replace('id = "warm"', 'id = "warm", style_weight = 3'))
    assert evaluate.main(arguments) == 0
    warm = found(tmp_path)["warm"]
    assert warm["objective_64"] == pytest.approx(warm["content_64"] + 3 * warm["style_64"], 1e-3)


def test_a_sheet_shows_the_measured_styles(arguments: list[str], tmp_path: Path) -> None:
    sheet = tmp_path / "sheets" / "sheet.png"
    assert evaluate.main([*arguments, "--sides", "64", "--sheet", str(sheet)]) == 0
    with Image.open(sheet) as image:
        assert image.size == (2 * SHEET_SIDE, SHEET_SIDE)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["--styles", "nope"], "has no style nope; it has"),
        (["--loss-network", "nope.safetensors"], "nope.safetensors"),
        (["--paintings", "nope"], "nope"),
        (["--photos", "nope"], "nope"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], extra: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([*arguments, *extra]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line


def test_a_recipe_with_other_styles_is_rejected(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Path(arguments[2])
    recipe.write_text(recipe.read_text().replace('"warm",', '"nope",'))
    assert evaluate.main(arguments) == 1
    assert "has no style nope" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (None, "give one with --recipe"),
        (FITTED, "no painting in"),
        ({**FITTED, "painting_size": 3}, "painting_size"),
    ],
)
def test_an_incomplete_card_is_one_clear_line(
    arguments: list[str],
    tmp_path: Path,
    recipe: dict[str, Any] | None,
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_recipe(tmp_path / "tiny", recipe)
    del arguments[1:3]
    if recipe is not FITTED:
        arguments += ["--styles", "warm"]
    assert evaluate.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line


def test_a_missing_loss_network_is_requested(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path / "tiny", FITTED)
    del arguments[1:3]
    assert evaluate.main([*arguments, "--styles", "warm"]) == 1
    assert "--loss-network" in capsys.readouterr().err
