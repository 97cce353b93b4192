import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.model_folder import WEIGHTS
from tests.tools.generated import write_pictures
from training import identity


def test_the_command_writes_a_sheet_or_a_clear_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = next(path.parent for path in models.glob("*/network.json"))
    photos = write_pictures(tmp_path / "photos", 2)
    style = min((folder / "styles").glob("*.safetensors")).stem
    out = tmp_path / "new" / "sheet.png"
    options = [f"--photos={photos[0].parent}", f"--photo={photos[0]}", "--steps=2", "--side=32"]
    arguments = [str(folder), style, "-o", str(out), *options]
    assert identity.main(arguments) == 0
    with Image.open(out) as sheet:
        assert np.asarray(sheet).shape == (64, 160, 3)
    assert identity.main([str(folder), "none", "-o", str(out), *options]) == 1
    assert "has no style none" in capsys.readouterr().err


def test_damaged_weights_are_one_clear_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(models / "tiny", tmp_path / "tiny"))
    (folder / WEIGHTS).write_bytes(b"damaged")
    photos = write_pictures(tmp_path / "photos", 2)
    options = [
        f"--photos={photos[0].parent}",
        f"--photo={photos[0]}",
        "-o",
        str(tmp_path / "s.png"),
    ]
    assert identity.main([str(folder), "warm", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder / WEIGHTS} is not a readable safetensors file")
