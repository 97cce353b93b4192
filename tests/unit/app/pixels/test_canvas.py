import numpy as np
import pytest
from PIL import Image

from app.errors import BadOption
from app.pixels.canvas import Finish, canvas, canvas_size, check_canvas, drawn_size, finished
from app.pixels.images import Picture, Pixels, resize


def painted(width: int, height: int, seed: int = 0) -> Pixels:
    """Noise in medium tones."""
    rng = np.random.default_rng(seed)
    return rng.integers(90, 160, (height, width, 3), np.uint8)


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


def test_a_picture_is_drawn_with_the_requested_longest_side_and_about_the_same_ratio() -> None:
    rng = np.random.default_rng(0)
    for width, height, size in rng.integers(1, 4000, (300, 3)).tolist():
        w, h = drawn_size(width, height, size)
        assert max(w, h) == size
        exact = min(width, height) * size / max(width, height)
        assert abs(min(w, h) - max(1, exact)) <= 0.5
        assert canvas_size(width, height, size) == (max(16, w), max(16, h))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (40, 1), (5, 9), (15, 16)])
@pytest.mark.parametrize("size", [None, 16, 64])
def test_the_edges_of_a_small_picture_are_mirrored_and_cut_off_again(
    width: int, height: int, size: int | None
) -> None:
    picture, finish = Picture(painted(width, height)), Finish(size=size)
    source = canvas(picture, finish)
    assert source.shape == (*canvas_size(width, height, size)[::-1], 3)
    w, h = drawn_size(width, height, size)
    assert np.array_equal(source[:h, :w], resize(picture.rgb, (w, h)))
    assert np.array_equal(source[:h, w : 2 * w], source[:h, w - 1 :: -1][:, : len(source[0]) - w])
    paint = painted(*canvas_size(width, height, size))
    assert np.array_equal(
        finished(picture, paint, finish).rgb, resize(paint[:h, :w], (width, height))
    )


def test_a_canvas_with_too_many_pixels_is_refused() -> None:
    check_canvas(100, 50, 5000)
    with pytest.raises(BadOption, match=r"^size: .*100x51; at most 5,000 .* .PASTICHE_MAX_PIXELS"):
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
def test_the_result_has_the_pictures_size(width: int, height: int, size: int | None) -> None:
    picture = Picture(painted(width, height))
    finish = Finish(strength=0.5, size=size, preserve_colors=True)
    answer = finished(picture, canvas(picture, finish), finish)
    assert answer.size == (width, height)


def test_strength_one_is_the_painting(picture: Picture) -> None:
    paint = painted(120, 80)
    assert np.array_equal(finished(picture, paint, Finish()).rgb, paint)


@pytest.mark.parametrize("preserve_colors", [False, True])
@pytest.mark.parametrize("size", [None, 40])
def test_strength_zero_is_the_photograph(
    picture: Picture, size: int | None, preserve_colors: bool
) -> None:
    finish = Finish(strength=0, size=size, preserve_colors=preserve_colors)
    paint = painted(*canvas_size(120, 80, size))
    assert np.array_equal(finished(picture, paint, finish).rgb, picture.rgb)


@pytest.mark.parametrize("strength", [0.01, 0.25, 0.5, 0.99])
def test_other_strengths_mix_photograph_and_painting(picture: Picture, strength: float) -> None:
    paint = painted(120, 80)
    mixed = finished(picture, paint, Finish(strength=strength)).rgb
    expected = picture.rgb + strength * (paint.astype(float) - picture.rgb)
    assert np.abs(mixed - expected).max() <= 1


def test_preserving_colours_keeps_the_chrominance_and_paints_the_luminance(
    photo: Image.Image,
) -> None:
    muted = Picture(np.asarray(photo) // 4 + 96)  # so that no colour is clipped
    paint = painted(120, 80)
    answer = finished(muted, paint, Finish(preserve_colors=True)).rgb
    assert np.abs(chrominance(answer) - chrominance(muted.rgb)).max() <= 2
    assert np.abs(luminance(answer) - luminance(paint)).max() <= 2


@pytest.mark.parametrize("finish", [Finish(), Finish(0.3, 40, True), Finish(0)])
def test_alpha_and_format_are_kept(picture: Picture, finish: Finish) -> None:
    answer = finished(picture, canvas(picture, finish), finish)
    assert answer.alpha is picture.alpha
    assert answer.format == "webp"
    assert finished(Picture(picture.rgb), canvas(picture, finish), finish).alpha is None
