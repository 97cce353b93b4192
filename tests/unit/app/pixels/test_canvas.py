import numpy as np
import pytest
from PIL import Image

from app.errors import BadOption
from app.pixels.canvas import Finish, canvas, canvas_size, check_canvas, finished
from app.pixels.images import Picture, Pixels


def painted(width: int, height: int, seed: int = 0) -> Pixels:
    """Noise of middling tones."""
    random = np.random.default_rng(seed)
    return random.integers(90, 160, (height, width, 3), np.uint8)


def luminance(rgb: Pixels) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(int)[..., 0]


def chrominance(rgb: Pixels) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(int)[..., 1:]


@pytest.fixture
def picture(photo: Image.Image) -> Picture:
    alpha = np.tile(np.arange(120, dtype=np.uint8), (80, 1))
    return Picture(np.asarray(photo), alpha, "webp")


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (1000, 501, None, (1000, 501)),
        (17, 16, None, (17, 16)),
        (4000, 3000, None, (1600, 1200)),
        (1000, 500, 100, (100, 50)),
        (500, 1000, 100, (50, 100)),
        (333, 500, 100, (67, 100)),
        (100, 50, 400, (400, 200)),
        (2000, 40, 100, (100, 16)),
        (40, 2000, 16, (16, 16)),
    ],
)
def test_the_canvas_keeps_the_ratio_with_no_side_below_sixteen(
    width: int, height: int, size: int | None, expected: tuple[int, int]
) -> None:
    assert canvas_size(width, height, size) == expected


def test_a_canvas_has_the_longest_side_asked_for_and_about_the_same_ratio() -> None:
    random = np.random.default_rng(0)
    for width, height, size in random.integers(16, 4000, (300, 3)).tolist():
        wide, high = canvas_size(width, height, size)
        assert max(wide, high) == size
        assert min(wide, high) >= 16
        exact = min(width, height) * size / max(width, height)
        assert abs(min(wide, high) - max(16, exact)) <= 0.5


def test_a_canvas_of_more_pixels_than_allowed_is_refused() -> None:
    check_canvas(100, 50, 5000)
    with pytest.raises(BadOption, match=r"^size: .*100x51; at most 5,000 pixels"):
        check_canvas(100, 51, 5000)


@pytest.mark.parametrize(("size", "shape"), [(None, (80, 120, 3)), (45, (30, 45, 3))])
def test_the_network_gets_the_picture_at_the_canvas_size(
    picture: Picture, size: int | None, shape: tuple[int, int, int]
) -> None:
    pixels = canvas(picture, Finish(size=size))
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.mean(axis=(0, 1)) - picture.rgb.mean(axis=(0, 1))).max() < 2


@pytest.mark.parametrize(("width", "height"), [(17, 16), (33, 47), (121, 79)])
@pytest.mark.parametrize("size", [None, 16, 31, 64])
def test_the_answer_has_the_pictures_size(width: int, height: int, size: int | None) -> None:
    picture = Picture(painted(width, height))
    finish = Finish(strength=0.5, size=size, preserve_colors=True)
    answer = finished(picture, canvas(picture, finish), finish)
    assert answer.size == (width, height)


def test_at_strength_one_the_answer_is_the_paint(picture: Picture) -> None:
    paint = painted(120, 80)
    assert np.array_equal(finished(picture, paint, Finish()).rgb, paint)


@pytest.mark.parametrize("preserve_colors", [False, True])
@pytest.mark.parametrize("size", [None, 40])
def test_at_strength_zero_the_answer_is_the_photo(
    picture: Picture, size: int | None, preserve_colors: bool
) -> None:
    finish = Finish(strength=0, size=size, preserve_colors=preserve_colors)
    paint = painted(*canvas_size(120, 80, size))
    assert np.array_equal(finished(picture, paint, finish).rgb, picture.rgb)


@pytest.mark.parametrize("strength", [0.01, 0.25, 0.5, 0.99])
def test_at_a_strength_in_between_the_answer_is_in_between(
    picture: Picture, strength: float
) -> None:
    paint = painted(120, 80)
    mixed = finished(picture, paint, Finish(strength=strength)).rgb
    expected = picture.rgb + strength * (paint.astype(float) - picture.rgb)
    assert np.abs(mixed - expected).max() <= 1


def test_preserved_colours_are_the_photos_and_the_light_is_the_paints(photo: Image.Image) -> None:
    muted = Picture(np.asarray(photo) // 4 + 96)  # such that no colour leaves the cube
    paint = painted(120, 80)
    answer = finished(muted, paint, Finish(preserve_colors=True)).rgb
    assert np.abs(chrominance(answer) - chrominance(muted.rgb)).max() <= 2
    assert np.abs(luminance(answer) - luminance(paint)).max() <= 2


@pytest.mark.parametrize("finish", [Finish(), Finish(0.3, 40, True), Finish(0)])
def test_alpha_and_format_are_carried_over(picture: Picture, finish: Finish) -> None:
    answer = finished(picture, canvas(picture, finish), finish)
    assert answer.alpha is picture.alpha
    assert answer.format == "webp"
    assert finished(Picture(picture.rgb), canvas(picture, finish), finish).alpha is None
