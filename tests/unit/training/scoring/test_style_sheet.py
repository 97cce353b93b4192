import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from training.scoring.style_sheet import style_sheet


def test_a_sheet_holds_every_photo_in_every_style(
    models: Path, photo: Image.Image, tmp_path: Path
) -> None:
    painted = style_sheet(models / "tiny", [photo, photo], 32)
    assert painted.size == (4 * 32, 2 * 32)
    columns = np.split(np.asarray(painted).astype(int), 4, axis=1)
    for left, right in itertools.pairwise(columns):
        assert np.abs(left - right).mean() > 1


def test_pictures_can_be_painted_larger_than_shown(models: Path, photo: Image.Image) -> None:
    large = style_sheet(models / "tiny", [photo], 64)
    shown = style_sheet(models / "tiny", [photo], 32, painted=64)
    assert shown.size == (4 * 32, 32)
    assert shown.tobytes() == large.resize(shown.size, Image.Resampling.LANCZOS).tobytes()
