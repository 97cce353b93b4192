from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from app import Pastiche
from app.errors import BadOption, ImageTooSmall, UnknownStyle


@pytest.fixture(scope="module")
def stylizer(models: Path) -> Pastiche:
    return Pastiche(models, "cpu", threads=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_an_image_of_any_mode_comes_back_painted_at_its_size(
    stylizer: Pastiche, photo: Image.Image, mode: str
) -> None:
    painted = stylizer.stylize(photo.convert(mode), "warm")
    assert (painted.mode, painted.size) == ("RGB", photo.size)
    assert np.abs(np.asarray(painted).astype(int) - np.asarray(photo)).mean() > 5


def test_alpha_comes_back(stylizer: Pastiche, photo: Image.Image) -> None:
    photo = photo.copy()
    photo.putalpha(100)
    painted = stylizer.stylize(photo, "warm", strength=0.5, size=64, preserve_colors=True)
    assert painted.mode == "RGBA"
    assert np.unique(np.asarray(painted)[..., 3]).tolist() == [100]


def test_the_image_that_was_given_is_not_changed(stylizer: Pastiche, photo: Image.Image) -> None:
    before = photo.tobytes()
    stylizer.stylize(photo, "cold")
    assert photo.tobytes() == before


def test_the_styles_are_listed(stylizer: Pastiche) -> None:
    assert stylizer.styles["warm"].card.title == "Warm"
    assert len(stylizer.styles) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"style": "nope"}, UnknownStyle),
        ({"style": "warm", "strength": 1.5}, BadOption),
        ({"style": "warm", "size": 8}, BadOption),
    ],
)
def test_a_bad_option_is_refused(
    stylizer: Pastiche, photo: Image.Image, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        stylizer.stylize(photo, **options)  # type: ignore[arg-type]


def test_an_image_too_small_to_paint_is_refused(stylizer: Pastiche) -> None:
    with pytest.raises(ImageTooSmall):
        stylizer.stylize(Image.new("RGB", (15, 200)), "warm")


def test_the_bundled_gallery_paints_in_one_line(photo: Image.Image) -> None:
    assert app.stylize(photo, "starry_night").size == photo.size
    with pytest.raises(UnknownStyle):
        app.stylize(photo, "nope")
