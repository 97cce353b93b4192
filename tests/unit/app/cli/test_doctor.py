import shutil
import sys
from pathlib import Path

import pytest

from app.cli import main


@pytest.mark.usefixtures("tiny")
def test_a_sound_installation_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    for part in (
        "pastiche ",
        "pillow ",
        "reads jpeg, png, webp, avif, heic, tiff, gif, bmp; writes jpeg, png, webp, avif, gif",
        "device: cpu;provider=CPUExecutionProvider",
        "  not cuda: ",
        "tiny: 3 styles, 0 textures",
        "512x512 pixels: ",
    ):
        assert part in report


@pytest.mark.usefixtures("tiny")
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert main(["doctor"]) == 0
    assert "  not heic: it takes the extra `heif`: pip install" in capsys.readouterr().out


def test_a_damaged_model_folder_is_named_and_fails(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "tiny", tmp_path / "tiny")
    shutil.copytree(models / "tiny", tmp_path / "other")
    (tmp_path / "other" / "stylize.onnx").write_bytes(b"damaged")
    assert main(["doctor", "--models", str(tmp_path), "--device", "cpu"]) == 1
    assert "problem: " in capsys.readouterr().out
