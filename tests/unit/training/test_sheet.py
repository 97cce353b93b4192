from pathlib import Path

import pytest
from PIL import Image

from training import sheet


def test_the_command_takes_photos_and_styles(
    models: Path, photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "cat.png")
    arguments = [str(models / "tiny"), str(tmp_path / "cat.png"), "-o", str(tmp_path / "s.png")]
    assert (
        sheet.main([*arguments, "--side", "40", "--painted", "80", "--styles", "cold", "warm"]) == 0
    )
    with Image.open(tmp_path / "s.png") as written:
        assert written.size == (120, 40)


@pytest.mark.parametrize("extra", [["--styles", "nope"], ["missing.jpg"]])
def test_a_mistake_is_one_clear_line(
    models: Path, tmp_path: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sheet.main([str(models / "tiny"), "-o", str(tmp_path / "s.png"), *extra]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
