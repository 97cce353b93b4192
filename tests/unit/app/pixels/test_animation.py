from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenImage, ImageTooLarge
from app.pixels.animation import (
    MOVING,
    Animation,
    check_animation,
    encode_animation,
    key_frame,
    read_animation,
)
from app.pixels.containers import walk
from app.pixels.images import Format, Picture
from tests.tools.image_files import SHADES, SWAPPED, chunk, exif, saved

FRAMES = [Image.fromarray(np.roll(SHADES, 7 * number, 1)) for number in range(4)]
DURATIONS = [40, 80, 120, 70]


def moving(format: str, **options: object) -> bytes:
    return saved(
        FRAMES[0],
        format,
        **{"save_all": True, "append_images": FRAMES[1:], "duration": DURATIONS, **options},
    )


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize(
    ("content", "plays"),
    [
        (moving("GIF"), 1),
        (moving("GIF", loop=0), 0),
        (moving("GIF", loop=3), 4),
        (moving("PNG", loop=0), 0),
        (moving("PNG", loop=3), 3),
        (moving("WEBP", lossless=True, loop=0), 0),
        (moving("WEBP", lossless=True, loop=3), 3),
    ],
)
def test_frames_and_their_timing_are_read(content: bytes, plays: int) -> None:
    still = walk(content)
    assert still.frames == len(FRAMES)
    animation = read_animation(still)
    assert list(animation.milliseconds) == DURATIONS
    assert animation.plays == plays
    for found, meant in zip(animation.frames, FRAMES, strict=True):
        assert difference(found.rgb, np.asarray(meant)) < 6


@pytest.mark.parametrize("format", MOVING)
@pytest.mark.parametrize("plays", [0, 1, 2, 7])
@pytest.mark.parametrize("alpha", [False, True])
def test_an_animation_survives_each_format(format: Format, plays: int, alpha: bool) -> None:
    pictures = [Picture(np.asarray(frame)) for frame in FRAMES]
    if alpha:
        visible = np.full((32, 48), 255, np.uint8)
        visible[:, :9] = 0
        pictures = [replace(picture, alpha=visible) for picture in pictures]
    content = encode_animation(Animation(pictures, DURATIONS, plays), format, 95)
    back = read_animation(walk(content))
    assert list(back.milliseconds) == DURATIONS
    assert back.plays == plays
    for found, meant in zip(back.frames, pictures, strict=True):
        shown = slice(9 if alpha else 0, None)
        assert difference(found.rgb[:, shown], meant.rgb[:, shown]) < 9
        assert (found.alpha is not None) == alpha


@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_frames_of_a_gif_that_replace_a_part_are_whole(disposal: int) -> None:
    square = [Image.new("P", (48, 32), 0) for _ in range(3)]
    for number, image in enumerate(square):
        image.putpalette([0, 0, 99, 200, 0, 0])
        image.paste(1, (10 * number, 4, 10 * number + 8, 12))
    content = saved(
        square[0], "GIF", save_all=True, append_images=square[1:], disposal=disposal, duration=50
    )
    animation = read_animation(walk(content))
    assert len(animation.frames) == 3
    for found, meant in zip(animation.frames, square, strict=True):
        assert np.array_equal(found.rgb, np.asarray(meant.convert("RGB")))


def test_a_png_with_another_picture_for_old_programs_shows_it_first() -> None:
    content = moving("PNG", default_image=True, duration=DURATIONS[1:])
    still = walk(content)
    assert still.frames == 3
    frames = read_animation(still).frames
    for found, meant in zip(frames, FRAMES[1:], strict=True):
        assert difference(found.rgb, np.asarray(meant)) == 0


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_every_frame_is_upright_and_in_srgb(format: str) -> None:
    content = moving(format, lossless=True, exif=exif(6), icc_profile=SWAPPED, duration=50)
    frames = read_animation(walk(content)).frames
    assert {frame.size for frame in frames} == {(32, 48)}
    turned = np.rot90(np.asarray(FRAMES[-1]), -1)
    assert difference(frames[-1].rgb, turned) > 20
    assert difference(frames[-1].rgb[..., ::-1][..., 1:], turned[..., ::-1][..., [2, 1]]) < 40


def test_limits_are_checked_before_anything_is_decoded() -> None:
    still = walk(moving("GIF"))
    check_animation(still, 4, 4 * 48 * 32)
    with pytest.raises(ImageTooLarge, match=r"4 frames; at most 3 .* \(PASTICHE_MAX_FRAMES\)"):
        check_animation(still, 3, 10**6)
    with pytest.raises(ImageTooLarge, match=r"48x32 pixels, 6,144 in all; at most 6,143"):
        check_animation(still, 4, 4 * 48 * 32 - 1)


def test_the_key_frame_is_not_a_blank_one() -> None:
    blank, photo = Picture(np.zeros((32, 48, 3), np.uint8)), Picture(SHADES)
    assert key_frame([blank, photo, blank]) is photo


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_truncated_animation_is_broken(format: str, part: float) -> None:
    content = moving(format)
    with pytest.raises(BrokenImage):
        read_animation(walk(content[: int(len(content) * part)]))


def test_a_png_with_fewer_frames_than_it_states_is_broken() -> None:
    content = moving("PNG")
    at = content.index(b"acTL")
    stated = content[: at - 4] + chunk(b"acTL", b"\0\0\0\x09\0\0\0\0") + content[at + 16 :]
    with pytest.raises(BrokenImage, match="as many frames as it states"):
        walk(stated)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_decoders_see_only_frames(format: str) -> None:
    tags = exif(6)
    tags[0x013B] = "secret"
    content = moving(format, comment=b"secret", exif=tags, xmp=b"secret")
    still = walk(content + b"secret")
    assert b"secret" in content
    assert b"secret" not in b"".join(still.moving)
    assert b"secret" not in still.content
