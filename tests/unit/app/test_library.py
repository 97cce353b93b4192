import doctest
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import app
from app import Pastiche, library
from app.errors import (
    BadOption,
    BrokenImage,
    ImageTooLarge,
    NoGenerator,
    UnknownStyle,
    UnsupportedImage,
)
from app.model_folder import Vector
from app.pixels.animation import read_animation
from app.pixels.canvas import Finish
from app.pixels.images import Pixels, encode, from_pillow, read_header
from tests.tools.image_files import SHADES, saved


@pytest.fixture(scope="module")
def pastiche(models: Path) -> Pastiche:
    return Pastiche(models, "cpu", threads=1)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_an_image_of_any_mode_comes_back_painted_at_its_size(
    pastiche: Pastiche, photo: Image.Image, mode: str
) -> None:
    painted = pastiche.stylize(photo.convert(mode), "warm")
    assert (painted.mode, painted.size) == ("RGB", photo.size)
    assert np.abs(np.asarray(painted).astype(int) - np.asarray(photo)).mean() > 5


def test_alpha_comes_back(pastiche: Pastiche, photo: Image.Image) -> None:
    photo = photo.copy()
    photo.putalpha(100)
    painted = pastiche.stylize(photo, "warm", strength=0.5, size=64, preserve_colors=True)
    assert painted.mode == "RGBA"
    assert np.unique(np.asarray(painted)[..., 3]).tolist() == [100]


def test_the_image_that_was_given_is_not_changed(pastiche: Pastiche, photo: Image.Image) -> None:
    before = photo.tobytes()
    pastiche.stylize(photo, "cold")
    assert photo.tobytes() == before


def test_several_folders_are_loaded_together(
    models: Path, texture_models: Path, photo: Image.Image
) -> None:
    pastiche = Pastiche([models, str(texture_models)], "cpu", threads=1)
    assert list(pastiche.styles) == ["cold", "plain", "warm"]
    assert list(pastiche.textures) == ["sand", "warm"]
    assert pastiche.stylize(photo, "warm,cold").size == photo.size
    assert pastiche.generate("sand", 64, 64).size == (64, 64)


def test_the_styles_are_listed(pastiche: Pastiche) -> None:
    assert pastiche.styles["warm"].card.title == "Warm"
    assert len(pastiche.styles) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"style": "nope"}, UnknownStyle),
        ({"style": "warm", "strength": 1.5}, BadOption),
        ({"style": "warm", "size": 8}, BadOption),
    ],
)
def test_a_bad_option_is_refused(
    pastiche: Pastiche, photo: Image.Image, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        pastiche.stylize(photo, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (15, 8)])
@pytest.mark.parametrize("preserve_colors", [False, True])
def test_an_image_of_any_size_is_painted(
    pastiche: Pastiche, size: tuple[int, int], preserve_colors: bool
) -> None:
    image = Image.new("RGB", size, "teal")
    assert pastiche.stylize(image, "warm", preserve_colors=preserve_colors).size == size


@pytest.fixture
def animation() -> bytes:
    """A square that moves in the right part of a picture; the first frame is blank."""
    frames = [Image.new("RGB", (300, 96), (90, 120, 150))]
    frames += [Image.fromarray(SHADES).resize((300, 96)) for _ in range(3)]
    for number, frame in enumerate(frames[1:]):
        frame.paste((9, 9, 9), (200 + 30 * number, 8, 230 + 30 * number, 60))
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50, loop=2)


@pytest.mark.parametrize("format", [None, "gif", "webp"])
def test_an_animation_is_painted_with_its_timing(
    pastiche: Pastiche, animation: bytes, tmp_path: Path, format: Any
) -> None:
    (tmp_path / "cat.png").write_bytes(animation)
    content = pastiche.stylize_animation(tmp_path / "cat.png", "warm", format=format)
    still = read_header(content, 10**5)
    assert still.format == (format or "png")
    painted = read_animation(still)
    assert list(painted.milliseconds) == [50] * 4
    assert painted.plays == 2


def test_what_does_not_move_does_not_flicker(pastiche: Pastiche, animation: bytes) -> None:
    still = read_header(animation, 10**5)
    frames = read_animation(still).frames
    painted = pastiche.paint_animation(read_animation(still), "warm", Finish()).frames
    alone = [pastiche.paint(frame, "warm", Finish()) for frame in frames]
    # Far from the square, where the network does not see it.
    steady, flickering = (
        np.abs(p[3].rgb[:, :64].astype(int) - p[2].rgb[:, :64]).max() for p in (painted, alone)
    )
    assert steady == 0
    assert flickering > 0


def test_an_animation_with_too_many_frames_is_refused(models: Path, animation: bytes) -> None:
    with pytest.raises(ImageTooLarge, match=r"4 frames; at most 3 are allowed \(max_frames\)"):
        Pastiche(models, "cpu", threads=1, max_frames=3).stylize_animation(animation, "warm")


def test_a_picture_that_does_not_move_is_not_an_animation(
    pastiche: Pastiche, photo: Image.Image
) -> None:
    with pytest.raises(BadOption, match="the image has one frame; use stylize"):
        pastiche.stylize_animation(encode(from_pillow(photo), "gif"), "warm")


def test_an_image_without_pixels_is_refused(pastiche: Pastiche) -> None:
    with pytest.raises(BrokenImage, match="no pixels"):
        pastiche.stylize(np.zeros((0, 9, 3), np.uint8), "warm")


def test_the_limit_on_pixels_is_named_as_the_library_names_it(
    models: Path, photo: Image.Image
) -> None:
    small = Pastiche(models, "cpu", threads=1, max_pixels=9000)
    content = encode(from_pillow(photo), "png")
    with pytest.raises(ImageTooLarge, match=r"at most 9,000 are allowed \(max_pixels\)"):
        small.stylize(content, "warm")


def test_the_bundled_gallery_paints_in_one_line(photo: Image.Image) -> None:
    assert app.stylize(photo, "starry_night").size == photo.size
    with pytest.raises(UnknownStyle):
        app.stylize(photo, "nope")


@pytest.fixture(scope="module")
def generating(texture_models: Path) -> Pastiche:
    return Pastiche(texture_models, "cpu", threads=1)


def test_a_texture_has_its_size_and_carries_its_seed(generating: Pastiche) -> None:
    texture = generating.generate("warm", 50, 30)
    assert (texture.mode, texture.size) == ("RGB", (50, 30))
    again = generating.generate("warm", 50, 30, seed=texture.info["seed"])
    assert again.tobytes() == texture.tobytes()
    assert generating.generate("warm", 50, 30).tobytes() != texture.tobytes()


def test_the_styles_that_can_generate_are_listed(generating: Pastiche) -> None:
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
    generating: Pastiche, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generating.generate(**{"style": "warm", **options})  # type: ignore[arg-type]


def test_a_path_bytes_an_array_and_an_image_are_painted_alike(
    pastiche: Pastiche, photo: Image.Image, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    photo.save(path)
    pixels = np.asarray(photo)
    images: list[Any] = [
        photo,
        path,
        str(path),
        path.read_bytes(),
        memoryview(path.read_bytes()),
        pixels,
    ]
    first, *others = [np.asarray(pastiche.stylize(image, "warm")) for image in images]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.full((20, 30), 90, np.uint8), "RGB"),
        (np.full((20, 30, 4), 90, np.uint8), "RGBA"),
        (np.full((30, 20, 3), 90, np.uint8).transpose(1, 0, 2), "RGB"),
    ],
)
def test_arrays_may_be_grey_transparent_or_not_contiguous(
    pastiche: Pastiche, array: NDArray[np.uint8], mode: str
) -> None:
    painted = pastiche.stylize(array, "plain")
    assert (painted.mode, painted.size) == (mode, (30, 20))


@pytest.mark.parametrize("shape", [(20,), (20, 30, 2), (1, 20, 30, 3)])
def test_an_array_of_another_shape_is_a_clear_error(
    pastiche: Pastiche, shape: tuple[int, ...]
) -> None:
    with pytest.raises(UnsupportedImage, match=r"it must be uint8 \[H, W\], \[H, W, 3\] or"):
        pastiche.stylize(np.zeros(shape, np.uint8), "warm")
    with pytest.raises(UnsupportedImage, match=r"the array is float32 \[20, 30, 3\]"):
        pastiche.stylize(np.zeros((20, 30, 3), np.float32), "warm")


def test_other_types_and_files_are_clear_errors(pastiche: Pastiche, tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"a path, the bytes of a file, a Pillow image or .* not int"
    ):
        pastiche.stylize(3, "warm")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        pastiche.stylize(tmp_path / "missing.jpg", "warm")
    (tmp_path / "text.jpg").write_text("text")
    with pytest.raises(UnsupportedImage):
        pastiche.stylize(tmp_path / "text.jpg", "warm")


def test_a_file_above_the_limit_is_not_decoded(
    pastiche: Pastiche, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(from_pillow(Image.new("RGB", (40, 40))), "png")
    monkeypatch.setattr(pastiche, "max_pixels", 100)
    with pytest.raises(ImageTooLarge, match="at most 100 are allowed"):
        pastiche.stylize(content, "warm")


def test_many_images_come_back_in_order_and_equal_sizes_share_a_batch(
    pastiche: Pastiche, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = photo.rotate(90, expand=True)
    images = [photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), turned, photo]
    alone = [np.asarray(pastiche.stylize(image, "warm", strength=0.7)) for image in images]
    (network,) = pastiche.gallery.networks
    batches: list[int] = []
    paint = network.paint

    def counted(canvases: Pixels, vectors: Vector) -> Pixels:
        batches.append(len(canvases))
        return paint(canvases, vectors)

    monkeypatch.setattr(network, "paint", counted)
    painted = list(pastiche.stylize_many(iter(images), "warm", strength=0.7))
    assert batches == [2, 1, 1]
    for one, other in zip(painted, alone, strict=True):
        assert np.abs(np.asarray(one).astype(int) - other).max() <= 1


def test_many_images_are_read_as_they_are_needed_and_options_are_checked_first(
    pastiche: Pastiche, photo: Image.Image
) -> None:
    def endless() -> Iterator[Image.Image]:
        while True:
            yield photo

    assert next(pastiche.stylize_many(endless(), "warm")).size == photo.size
    with pytest.raises(UnknownStyle):
        pastiche.stylize_many(endless(), "nope")


def test_several_threads_can_share_one_object(pastiche: Pastiche, photo: Image.Image) -> None:
    wanted = {style: pastiche.stylize(photo, style).tobytes() for style in ("warm", "cold")}
    with ThreadPoolExecutor(8) as threads:
        styles = ["warm", "cold"] * 12
        painted = list(threads.map(lambda style: pastiche.stylize(photo, style).tobytes(), styles))
    assert painted == [wanted[style] for style in styles]


def test_the_examples_in_the_docstrings_work(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.save(tmp_path / "photo.jpg")
    flipped = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photo.save(tmp_path / "cat.gif", save_all=True, append_images=[flipped])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pastiche", app)
    failed, attempted = doctest.testmod(library)
    assert failed == 0
    assert attempted >= 8
