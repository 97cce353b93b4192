from pathlib import Path

import pytest
from PIL import Image

from app.library import Pastiche
from tests.tools.generated import picture
from training import variations as command


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return picture(48, 32)


def test_the_command_writes_a_sheet_or_a_clear_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Image.Image
) -> None:
    photo.save(tmp_path / "photo.png")
    options = [f"--photo={tmp_path / 'photo.png'}", f"--models={models}", "--side=24"]
    style = min(Pastiche(models).styles)
    out = tmp_path / "new" / "sheet.png"
    assert command.main(["strengths", style, "-o", str(out), *options]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (24 * 5, 16)
    assert command.main(["blends", style, "-o", str(out), *options]) == 1
    assert capsys.readouterr().err == "error: blends takes 4 styles, one for each corner\n"
    assert command.main(["sizes", "none", "-o", str(out), *options]) == 1
    assert "there is no style 'none'" in capsys.readouterr().err
