from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from app import Stylizer
from app.errors import BadOption, ImageTooSmall, NoGenerator, UnknownStyle


@pytest.fixture(scope="module")
def stylizer(models: Path) -> Stylizer:
    return Stylizer(models, "cpu", threads=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_an_image_of_any_mode_comes_back_painted_at_its_size(
    stylizer: Stylizer, photo: Image.Image, mode: str
) -> None:
    painted = stylizer.stylize(photo.convert(mode), "warm")
    assert (painted.mode, painted.size) == ("RGB", photo.size)
    assert np.abs(np.asarray(painted).astype(int) - np.asarray(photo)).mean() > 5


def test_alpha_comes_back(stylizer: Stylizer, photo: Image.Image) -> None:
    photo = photo.copy()
    photo.putalpha(100)
    painted = stylizer.stylize(photo, "warm", strength=0.5, size=64, preserve_colors=True)
    assert painted.mode == "RGBA"
    assert np.unique(np.asarray(painted)[..., 3]).tolist() == [100]


def test_the_image_that_was_given_is_not_changed(stylizer: Stylizer, photo: Image.Image) -> None:
    before = photo.tobytes()
    stylizer.stylize(photo, "cold")
    assert photo.tobytes() == before


def test_the_styles_are_listed(stylizer: Stylizer) -> None:
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
    stylizer: Stylizer, photo: Image.Image, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        stylizer.stylize(photo, **options)  # type: ignore[arg-type]


def test_an_image_too_small_to_paint_is_refused(stylizer: Stylizer) -> None:
    with pytest.raises(ImageTooSmall):
        stylizer.stylize(Image.new("RGB", (15, 200)), "warm")


def test_the_bundled_gallery_paints_in_one_line(photo: Image.Image) -> None:
    assert app.stylize(photo, "starry_night").size == photo.size
    with pytest.raises(UnknownStyle):
        app.stylize(photo, "nope")


@pytest.fixture(scope="module")
def generating(texture_models: Path) -> Stylizer:
    return Stylizer(texture_models, "cpu", threads=1)


def test_a_texture_has_its_size_and_carries_its_seed(generating: Stylizer) -> None:
    texture = generating.generate("warm", 50, 30)
    assert (texture.mode, texture.size) == ("RGB", (50, 30))
    again = generating.generate("warm", 50, 30, seed=texture.info["seed"])
    assert again.tobytes() == texture.tobytes()
    assert generating.generate("warm", 50, 30).tobytes() != texture.tobytes()


def test_the_styles_that_can_generate_are_listed(generating: Stylizer) -> None:
    assert [style.card.title for style in generating.textures.values()] == ["Sand", "Warm"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"style": "nope"}, UnknownStyle, "those that can generate are sand, warm"),
        ({"style": "plain"}, NoGenerator, "those that can are sand, warm"),
        ({"width": 0}, BadOption, "width: .*greater than or equal to 16"),
        ({"height": 20_000}, BadOption, "height: .*less than or equal to 16384"),
        ({"seed": 0.5}, BadOption, "seed: .*valid integer"),
        ({"seed": 2**32}, BadOption, "seed: .*4294967295"),
        ({"tileable": True, "width": 500}, BadOption, "nearest to 500: 496 and 504"),
    ],
)
def test_a_bad_option_of_a_texture_is_refused(
    generating: Stylizer, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generating.generate(**{"style": "warm", **options})  # type: ignore[arg-type]
