import json
import shutil
from pathlib import Path

import pytest

from app.model_folder import WEIGHTS
from training import bench
from training.scoring import speed


def test_every_path_is_measured(
    texture_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speed, "FULL_HD", (96, 54))
    monkeypatch.setattr(speed, "MEGAPIXELS", (0.01,))
    small = ["--rounds=1", "--sides", "32", "--batches", "2", f"--json={tmp_path / 'found.json'}"]
    assert bench.main([f"--network={texture_models / 'tiny'}", *small]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    (row,) = found["rows"]
    assert (found["network"], row["side"], row["batch"]) == ("tiny", 32, 2)
    assert min(row[name] for name in ("pytorch", "plain", "session", "served", "inside")) > 0
    assert found["full_hd_peak_mib"] > 10
    assert [entry["megapixels"] for entry in found["megapixels"]] == [0.01]
    generated = found["generate"]
    assert [entry["megapixels"] for entry in generated["megapixels"]] == [0.01]
    (row,) = generated["rows"]
    assert row["side"] == 32
    assert min(row["stylize"], row["generate"]) > 0
    printed = capsys.readouterr().out
    assert "  2 x   32px" in printed
    assert "32px served: stylize" in printed


def test_an_unfitted_network_of_any_width_can_be_measured(tmp_path: Path) -> None:
    folder = speed.unfitted_network(4, tmp_path)
    assert folder == tmp_path / "width4"
    assert (folder / WEIGHTS).is_file()


def test_damaged_weights_are_one_clear_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(models / "tiny", tmp_path / "tiny"))
    (folder / WEIGHTS).write_bytes(b"damaged")
    assert bench.main([f"--network={folder}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder / WEIGHTS} is not a readable safetensors file")
