import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import sheet


def test_a_sheet_holds_every_photo_in_every_style(
    models: Path, photo: Image.Image, tmp_path: Path
) -> None:
    painted = sheet.contact_sheet(models / "tiny", [photo, photo], 32)
    assert painted.size == (4 * 32, 2 * 32)
    columns = np.split(np.asarray(painted).astype(int), 4, axis=1)
    for left, right in itertools.pairwise(columns):
        assert np.abs(left - right).mean() > 1


def test_pictures_can_be_painted_larger_than_they_are_shown(
    models: Path, photo: Image.Image
) -> None:
    large = sheet.contact_sheet(models / "tiny", [photo], 64)
    shown = sheet.contact_sheet(models / "tiny", [photo], 32, painted=64)
    assert shown.size == (4 * 32, 32)
    assert shown.tobytes() == large.resize(shown.size, Image.Resampling.LANCZOS).tobytes()


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
