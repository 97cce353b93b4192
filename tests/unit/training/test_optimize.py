import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.tools.generated import picture
from training import optimize
from training.scoring import gatys


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    picture(90, 70, 1).save(tmp_path / "photo.png")
    picture(80, 80, 2).save(tmp_path / "painting.png")
    torch.manual_seed(0)
    weights = {}
    for block, inputs in zip(range(1, 6), (3, 4, 4, 4, 4), strict=True):
        weights[f"conv{block}_1.weight"] = 0.4 * torch.randn(4, inputs, 3, 3)
        weights[f"conv{block}_1.bias"] = torch.ones(4)
    save_file(weights, tmp_path / "loss.safetensors")
    return [
        str(tmp_path / "photo.png"), str(tmp_path / "painting.png"),
        "-o", str(tmp_path / "out" / "painted.png"),
        "--loss-network", str(tmp_path / "loss.safetensors"),
        "--side", "64", "--painting-size", "64", "--evaluations", "6", "--device", "cpu",
    ]  # fmt: skip


def painted(folder: Path) -> np.ndarray:
    with Image.open(folder / "out" / "painted.png") as image:
        assert image.size == (82, 64)
        return np.asarray(image)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("extra", [[], ["--method", "adam"]])
def test_picture_and_curve_are_written(
    arguments: list[str], extra: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.csv"
    assert optimize.main([*arguments, *extra, "--curve", str(curve)]) == 0
    assert painted(tmp_path).std() > 1
    found = rows(curve)
    assert [row["evaluation"] for row in found] == [1, 2, 3, 4, 5, 6]
    for row in found:
        assert row["total"] == pytest.approx(row["content"] + 10 * row["style"], rel=1e-4)
    assert found[0]["content"] < 1e-9
    lowest = min(row["total"] for row in found)
    assert lowest < found[0]["total"]
    assert f"objective {lowest:.4f} after 6 evaluations" in capsys.readouterr().out


def test_it_can_start_from_noise(arguments: list[str], tmp_path: Path) -> None:
    curve = tmp_path / "curve.csv"
    assert optimize.main([*arguments, "--start", "noise", "--curve", str(curve)]) == 0
    assert rows(curve)[0]["content"] > 1e-3


def test_the_command_sets_the_weights(arguments: list[str], tmp_path: Path) -> None:
    curve = tmp_path / "curve.csv"
    weights = ["--content-weight", "3", "--style-weight", "2", "--curve", str(curve)]
    assert optimize.main([*arguments, *weights]) == 0
    for row in rows(curve):
        assert row["total"] == pytest.approx(3 * row["content"] + 2 * row["style"], rel=1e-4)


def test_an_interrupt_keeps_the_best_picture(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupting(image: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return image.mean((1, 2, 3))

    monkeypatch.setattr(gatys, "total_variation", interrupting)
    curve = tmp_path / "curve.csv"
    extra = ["--variation-weight", "0.1", "--curve", str(curve)]
    assert optimize.main([*arguments, *extra]) == 130
    assert painted(tmp_path).std() > 1
    assert len(rows(curve)) == 3


@pytest.mark.parametrize(
    ("place", "wrong", "expected"),
    [
        (0, "missing.jpg", "missing.jpg"),
        (1, "missing.jpg", "missing.jpg"),
        (3, "picture.xyz", ".webp"),
        (5, "missing.safetensors", "loss network"),
    ],
)
def test_a_mistake_is_one_clear_line_before_any_work(
    arguments: list[str],
    place: int,
    wrong: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments[place] = str(tmp_path / wrong)
    assert optimize.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line


@pytest.mark.parametrize("wrong", [["--evaluations", "0"], ["--side", "8"], ["--style-weight=-1"]])
def test_a_number_out_of_range_is_rejected(
    arguments: list[str], wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        optimize.main([*arguments, *wrong])
    assert "is not at least" in capsys.readouterr().err
