import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import make_recipe
from tests.tools.generated import picture, write_pictures
from training.fit.data import (
    Batches,
    DataError,
    find_photos,
    load_image,
    load_painting,
    random_crop,
    read_image,
)
from training.fit.recipe import Phase, Recipe


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path, 5)


def recipe(seed: int = 0, *phases: Phase) -> Recipe:
    changes = {"seed": seed, "phases": list(phases) or make_recipe().phases}
    return make_recipe().model_copy(update=changes)


def test_photos_are_found_at_any_depth_and_sorted(tmp_path: Path) -> None:
    names = ["b.JPG", "a/c.png", "a/deep/er/d.webp", "e.tiff", "f.txt", "g", "a/h.jpg.part"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["a/c.png", "a/deep/er/d.webp", "b.JPG", "e.tiff"]


def test_a_linked_folder_is_walked(tmp_path: Path, photos: list[Path]) -> None:
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "photos").symlink_to(write_pictures(tmp_path / "other", 2)[0].parent)
    assert len(find_photos(linked)) == 2


def test_an_empty_folder_and_a_missing_folder_are_different_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no photos below .*\.jpg"):
        find_photos(tmp_path)
    with pytest.raises(DataError, match="none does not exist"):
        find_photos(tmp_path / "none")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_a_picture_is_read_upright(tmp_path: Path, suffix: str) -> None:
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:, :20] = 255  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate clockwise: the left side goes up
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)
    upright = np.asarray(read_image(path))
    assert upright.shape == (40, 20, 3)
    assert upright[:15].min() > 250
    assert upright[25:].max() < 5


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_a_picture_of_any_mode_is_converted_to_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.tiff"
    picture(30, 20).convert(mode).save(path)
    assert read_image(path).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\0\0"])
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the picture .*broken\.png"):
        read_image(tmp_path / "broken.png")


def test_a_truncated_picture_is_named(photos: list[Path]) -> None:
    photos[0].write_bytes(photos[0].read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cannot read the picture .*0\.png"):
        read_image(photos[0])


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(200, 100, (50, 100)), (90, 30, (50, 150)), (1, 4, (200, 50))]
)
def test_an_image_is_resized_by_its_shorter_side(
    tmp_path: Path, width: int, height: int, shape: tuple[int, int]
) -> None:
    picture(width, height).save(tmp_path / "photo.png")
    image = load_image(tmp_path / "photo.png", 50)
    assert image.shape == (1, 3, *shape)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1


def test_a_painting_that_is_too_small_is_rejected(tmp_path: Path) -> None:
    picture(63, 300).save(tmp_path / "small.png")
    picture(64, 300).save(tmp_path / "enough.png")
    with pytest.raises(DataError, match=r"small\.png is 63x300 pixels.* at least 64"):
        load_painting(tmp_path / "small.png", 128)
    assert load_painting(tmp_path / "enough.png", 128).shape == (1, 3, 600, 128)


def test_a_missing_painting_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wave\.jpg.*No such file"):
        load_painting(tmp_path / "wave.jpg", 128)


def test_a_batch_depends_only_on_seed_step_and_rank(photos: list[Path]) -> None:
    again = Batches(photos, recipe(), rank=1)
    batches = [again[step] for step in (3, 0, 3)]
    fresh = Batches(photos, recipe(), rank=1)[3]
    for batch in batches[::2]:
        assert torch.equal(batch.photos, fresh.photos)
        assert torch.equal(batch.style_index, fresh.style_index)
    assert fresh.photos.shape == (2, 3, 32, 32)
    assert fresh.photos.dtype == torch.uint8
    assert len(again) == recipe().steps


@pytest.mark.parametrize(("seed", "step", "rank"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_seed_step_and_rank_each_change_the_batch(
    photos: list[Path], seed: int, step: int, rank: int
) -> None:
    batch = Batches(photos, recipe())[0]
    other = Batches(photos, recipe(seed), rank)[step]
    assert not torch.equal(batch.photos, other.photos)


def test_a_style_is_drawn_by_its_share(photos: list[Path]) -> None:
    first, *others = make_recipe().styles
    styles = [first.model_copy(update={"share": 2.0}), *others]
    batches = Batches(photos[:1], recipe().model_copy(update={"styles": styles}))
    drawn = Counter(int(s) for step in range(200) for s in batches[step].style_index)
    assert drawn.total() == 400
    assert 160 < drawn[0] < 240  # two of four parts
    assert all(70 < drawn[other] < 130 for other in (1, 2))


def test_a_phase_sets_crop_and_batch(photos: list[Path]) -> None:
    phases = [Phase(steps=2, crop=[32], batch=3), Phase(steps=1, crop=[64], batch=1)]
    batches = Batches(photos, recipe(0, *phases))
    shapes = [tuple(batches[step].photos.shape) for step in range(len(batches))]
    assert shapes == [(3, 3, 32, 32), (3, 3, 32, 32), (1, 3, 64, 64)]


def test_crop_sizes_alternate_at_constant_cost(photos: list[Path]) -> None:
    batches = Batches(photos, recipe(0, Phase(steps=4, crop=[32, 64, 128], batch=4)))
    shapes = [tuple(batches[step].photos.shape) for step in range(4)]
    assert shapes == [(4, 3, 32, 32), (1, 3, 64, 64), (1, 3, 128, 128), (4, 3, 32, 32)]


@pytest.mark.parametrize("size", [(20, 10), (1, 50), (33, 31)])
def test_photos_smaller_than_the_crop_are_enlarged(tmp_path: Path, size: tuple[int, int]) -> None:
    batch = Batches(write_pictures(tmp_path, 2, *size), recipe())[0]
    assert batch.photos.shape == (2, 3, 32, 32)
    assert batch.photos.float().std() > 10


def test_a_crop_covers_half_to_all_of_the_shorter_side_and_may_be_mirrored() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(200, axis=0)
    rng = random.Random(0)
    crops = [np.asarray(random_crop(Image.fromarray(ramp), 32, rng)) for _ in range(200)]
    spans = np.array([crop[0, -1, 0].astype(int) - crop[0, 0, 0] for crop in crops])
    # 32 samples of a window lie 31/32 of it apart, and a slope of 1 turns pixels into grey levels.
    assert 95 <= abs(spans).min() < 105
    assert 185 < abs(spans).max() <= 195
    assert 70 < (spans < 0).sum() < 130
    assert min(crop.min() for crop in crops) < 5
    assert max(crop.max() for crop in crops) > 250


def test_an_enlarged_crop_covers_a_quarter_of_its_side_to_all_of_it() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(200, axis=0)
    rng = random.Random(0)
    crops = [
        np.asarray(random_crop(Image.fromarray(ramp), 128, rng, enlarged=True)) for _ in range(200)
    ]
    spans = [abs(int(crop[0, -1, 0]) - int(crop[0, 0, 0])) for crop in crops]
    assert 30 <= min(spans) < 36
    assert 115 < max(spans) <= 128


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_enlarged_crops_is_the_recipes(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    enlarged: list[bool] = []

    def note(image: Image.Image, side: int, rng: random.Random, wanted: bool) -> Image.Image:
        enlarged.append(wanted)
        return random_crop(image, side, rng, wanted)

    monkeypatch.setattr("training.fit.data.random_crop", note)
    batches = Batches(photos, recipe(0).model_copy(update={"enlarged_share": share}))
    for step in range(60):
        batches[step % len(batches)]
        batches.recipe = batches.recipe.model_copy(update={"seed": step})
    assert abs(np.mean(enlarged) - share) < 0.15


def test_an_unreadable_photo_is_named_and_replaced(photos: list[Path]) -> None:
    for broken in photos[:3]:
        broken.write_bytes(b"no picture")
    batches = [Batches(photos, recipe(seed))[0] for seed in range(10)]
    assert all(batch.photos.shape == (2, 3, 32, 32) for batch in batches)
    messages = {message for batch in batches for message in batch.unreadable}
    assert len(messages) == 3
    assert all(any(str(p) in message for message in messages) for p in photos[:3])
    assert not Batches(photos[3:], recipe())[0].unreadable


def test_only_unreadable_photos_are_an_error(photos: list[Path]) -> None:
    for broken in photos:
        broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 5 photos can be read; cannot read the pic"):
        Batches(photos, recipe())[0]
