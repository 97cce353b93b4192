from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import PasticheError
from app.library import Pastiche
from tests.tools.generated import picture
from training.scoring import variations


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return picture(48, 32)


def painted(pastiche: Pastiche, photo: Image.Image, style: str, **options: float) -> np.ndarray:
    return np.asarray(pastiche.stylize(photo, style, **options))  # type: ignore[arg-type]


def test_the_corners_of_a_blend_sheet_are_the_four_styles(models: Path, photo: Image.Image) -> None:
    pastiche = Pastiche(models)
    names = (sorted(pastiche.styles) * 4)[:4]
    rows = variations.blends(pastiche, photo, names)
    corners = [rows[0][0], rows[0][-1], rows[-1][0], rows[-1][-1]]
    for style, corner in zip(names, corners, strict=True):
        assert np.array_equal(np.asarray(corner), painted(pastiche, photo, style))
    middle = ",".join(f"{name}:0.25" for name in names)
    assert np.array_equal(np.asarray(rows[2][2]), painted(pastiche, photo, middle))


def test_sizes_start_with_the_smallest_and_strengths_with_the_photo(
    models: Path, photo: Image.Image
) -> None:
    pastiche = Pastiche(models)
    style = min(pastiche.styles)
    (row,) = variations.strengths(pastiche, photo, [style])
    assert np.array_equal(np.asarray(row[0]), np.asarray(photo))
    assert np.array_equal(np.asarray(row[-1]), painted(pastiche, photo, style))
    (row,) = variations.sizes(pastiche, photo, [style])
    assert np.array_equal(np.asarray(row[0]), painted(pastiche, photo, style, size=384))


def test_textures_stand_in_rows_of_five(texture_models: Path, photo: Image.Image) -> None:
    pastiche = Pastiche(texture_models, "cpu")
    names = ["warm", "sand", "warm", "sand", "warm"]
    rows = variations.textures(pastiche, photo, names * 2)
    assert [len(row) for row in rows] == [5, 5]
    assert rows[0][1].size == (512, 512)
    assert rows[0][1].tobytes() == pastiche.generate("sand", seed=0).tobytes()
    with pytest.raises(PasticheError, match="at most 5 styles, or a multiple of 5"):
        variations.textures(pastiche, photo, [*names, "warm"])


def test_a_grid_has_no_gaps() -> None:
    colours = [["red", "lime", "blue"], ["black", "white", "gray"]]
    rows = [[Image.new("RGB", (40, 20), colour) for colour in row] for row in colours]
    whole = variations.grid(rows, 10)
    assert whole.size == (30, 10)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            assert whole.getpixel((10 * x + 5, 5 * y + 2)) == cell.getpixel((0, 0))
