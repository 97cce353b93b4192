import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from training.scoring.faces import CLEAR, SMALLEST, Face, FaceDetector, Survival, overlap, survival


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.fromarray(data.astronaut())


def found(detector: FaceDetector, portrait: Image.Image, pastiche: Image.Image) -> Survival:
    return survival(detector.faces(portrait, CLEAR), detector.faces(pastiche))


def test_the_face_of_a_portrait_is_found_where_it_is(
    detector: FaceDetector, portrait: Image.Image
) -> None:
    (face,) = detector.faces(portrait, CLEAR)
    assert overlap(face, Face(175, 65, 90, 115, 1)) > 0.7
    assert CLEAR <= face.score <= 1


def test_colours_are_read_in_the_right_order(detector: FaceDetector, portrait: Image.Image) -> None:
    swapped = Image.fromarray(np.asarray(portrait)[:, :, ::-1])
    assert detector.faces(portrait)[0].score > detector.faces(swapped)[0].score


def test_a_picture_without_a_face_has_none(detector: FaceDetector) -> None:
    assert detector.faces(Image.fromarray(data.coffee())) == []


@pytest.mark.parametrize("size", [(512, 512), (200, 200), (311, 427)])
def test_pictures_of_different_sizes_follow_each_other(
    detector: FaceDetector, portrait: Image.Image, size: tuple[int, int]
) -> None:
    assert len(detector.faces(portrait.resize(size))) == 1


def test_a_face_survives_a_change_of_colours(detector: FaceDetector, portrait: Image.Image) -> None:
    assert found(detector, portrait, portrait.convert("L").convert("RGB")) == Survival(1, 1)


def test_a_face_does_not_survive_where_it_is_smeared(
    detector: FaceDetector, portrait: Image.Image
) -> None:
    (face,) = detector.faces(portrait, CLEAR)
    smeared, box = portrait.copy(), (
        round(face.left), round(face.top),
        round(face.left + face.width), round(face.top + face.height),
    )  # fmt: skip
    smeared.paste(portrait.filter(ImageFilter.GaussianBlur(25)).crop(box), box[:2])
    assert found(detector, portrait, smeared) == Survival(0, 1)


def test_a_face_at_another_place_is_not_the_same(
    detector: FaceDetector, portrait: Image.Image
) -> None:
    moved = Image.fromarray(np.roll(np.asarray(portrait), 120, axis=1))
    assert len(detector.faces(moved)) == 1
    assert found(detector, portrait, moved) == Survival(0, 1)


def test_faces_that_are_too_small_do_not_count(
    detector: FaceDetector, portrait: Image.Image
) -> None:
    (face,) = detector.faces(portrait, CLEAR)
    side = round(512 * (SMALLEST - 4) / face.width)
    assert detector.faces(portrait.resize((side, side), Image.Resampling.LANCZOS)) == []


def test_overlap_is_intersection_over_union() -> None:
    a, b = Face(0, 0, 4, 2, 1), Face(2, 0, 4, 2, 1)
    assert overlap(a, a) == 1
    assert overlap(a, b) == pytest.approx(4 / 12)
    assert overlap(a, Face(9, 9, 2, 2, 1)) == 0


def test_survivals_add_up_to_a_share() -> None:
    assert (Survival(1, 2) + Survival(2, 2)).share == 0.75
    assert math.isnan(Survival().share)
