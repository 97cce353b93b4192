import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from app.library import Pastiche
from tests.tools.generated import picture, vgg_weights
from training import compare
from training.scoring.hatch import LIMIT
from training.scoring.peer_report import SHEET_SIDE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """Peers, paintings and loss networks; `copy` painted what is served, `photo` nothing at all."""
    folder = tmp_path_factory.mktemp("compare")
    for place in ("peers/96", "paintings", "faces"):
        (folder / place).mkdir(parents=True)
    pastiche = Pastiche(models, "cpu")
    for name, image in {
        "cat": Image.fromarray(data.chelsea()).resize((96, 64)),
        "clouds": Image.new("RGB", (96, 96), (120, 140, 200)),
    }.items():
        stem = folder / "peers/96" / name
        image.save(f"{stem}.photo.png")
        pastiche.stylize(image, "warm").save(f"{stem}.copy.warm.jpg", quality=100, subsampling=0)
        image.save(f"{stem}.photo.warm.jpg", quality=100, subsampling=0)
        hatched = (
            np.asarray(image) + np.array([0, 12, 24, 24, 12, 0])[np.arange(image.width) % 6, None]
        )
        Image.fromarray(hatched.clip(0, 255).astype(np.uint8)).save(f"{stem}.hatcher.warm.jpg")
    for style in ("warm", "cold"):
        picture(160, 128, 7).save(folder / f"paintings/{style}.png")
    Image.fromarray(data.astronaut()).save(folder / "faces/astronaut.png")
    for seed, name in enumerate(("independent", "fitted")):
        save_file(vgg_weights(seed), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def arguments(models: Path, folder: Path, tmp_path: Path) -> list[str]:
    return [
        str(models / "tiny"), "--peers", str(folder / "peers"),
        "--paintings", str(folder / "paintings"), "--sizes", "96", "--styles", "warm",
        "--independent", str(folder / "independent.safetensors"),
        "--loss-network", str(folder / "fitted.safetensors"),
        "--json", str(tmp_path / "scores.json"),
    ]  # fmt: skip


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())["sizes"]["96"]  # type: ignore[no-any-return]


def numbers(score: dict[str, Any]) -> Iterator[float]:
    for errors in score["errors"].values():
        yield from errors["content"].values()
        yield errors["style"]


def test_all_painters_are_scored_printed_and_shown(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert compare.main([*arguments, "--sheet", str(sheet)]) == 0
    found = scores(tmp_path)["warm"]
    assert list(numbers(found["copy"])) == pytest.approx(list(numbers(found["ours"])), rel=0.1)
    for layer, error in found["photo"]["errors"]["independent"]["content"].items():
        assert error < 0.1 * found["ours"]["errors"]["independent"]["content"][layer]
    printed = capsys.readouterr().out
    for score in found.values():
        assert all(f"{number:.3f}" in printed for number in numbers(score))
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert "/ copy" in printed
    assert found["hatcher"]["hatch"] > LIMIT > found["photo"]["hatch"]
    assert rows["hatcher"].endswith(" *")
    assert not rows["photo"].endswith("*")
    with Image.open(sheet) as opened:
        assert opened.width == 5 * SHEET_SIDE  # the photograph and four painters
        assert opened.height > 2 * SHEET_SIDE


def test_strength_zero_leaves_the_photographs(arguments: list[str], tmp_path: Path) -> None:
    assert compare.main([*arguments, "--strength", "0"]) == 0
    ours = scores(tmp_path)["warm"]["ours"]
    assert max(ours["errors"]["independent"]["content"].values()) == pytest.approx(0, abs=1e-6)


def test_every_second_photograph_is_the_first_of_two(arguments: list[str], tmp_path: Path) -> None:
    assert compare.main([*arguments, "--every", "2"]) == 0
    found = scores(tmp_path)["warm"]
    assert {score["photos"] for score in found.values()} == {1}
    assert found["ours"]["hatch"] is None  # the cat has no flat region, the clouds were left out


def test_faces_of_other_photographs_are_counted(
    arguments: list[str], folder: Path, tmp_path: Path
) -> None:
    faces = ["--faces", str(folder / "faces")]
    assert compare.main([*arguments, *faces, "--strength", "0"]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["faces"]
    assert found == {"warm": {"found": 1, "faces": 1}}
    assert compare.main([*arguments, *faces]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["faces"]
    assert found == {"warm": {"found": 0, "faces": 1}}


def test_a_style_that_no_peer_painted_is_scored_alone(arguments: list[str], tmp_path: Path) -> None:
    assert compare.main([*arguments, "--styles", "cold"]) == 0
    assert list(scores(tmp_path)["cold"]) == ["ours"]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--styles", "nope"], "has no style nope; it has cold, plain, warm"),
        (["--styles", "plain"], "no painting in .* is named plain"),
        (["--sizes", "128"], "no folder .*128"),
        (["--independent", "nowhere.safetensors"], "nor a safetensors file"),
        (["--faces", "nowhere"], "nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_clear_line(
    arguments: list[str], extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*arguments, *extra]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    assert re.search(words, line), line


def test_photographs_without_faces_are_an_error(
    arguments: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faces").mkdir()
    shutil.copy(folder / "peers/96/cat.photo.png", tmp_path / "faces")
    assert compare.main([*arguments, "--faces", str(tmp_path / "faces")]) == 1
    assert "no clear face was found" in capsys.readouterr().err


@pytest.mark.parametrize("strength", ["-0.1", "1.1", "nan", "much"])
def test_a_strength_outside_its_range_is_refused(
    arguments: list[str], strength: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        compare.main([*arguments, f"--strength={strength}"])
    assert "from 0 to 1" in capsys.readouterr().err
