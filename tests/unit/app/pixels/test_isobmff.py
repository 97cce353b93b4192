"""AVIF and HEIC: rotation, cropping, grids, alpha and colours."""

import io
import sys
from random import Random

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from app.errors import BrokenImage, ImageTooLarge, UnsupportedImage
from app.pixels.containers import hevc, isobmff, walk
from app.pixels.containers.still import MAX_PROFILE
from app.pixels.images import decode, read_header
from tests.tools.image_files import LINEAR, SHADES, SWAPPED, box, exif, saved
from tests.unit.app.pixels.test_images import STORED

LIMIT = 1_000_000  # pixels
PICTURE = Image.fromarray(SHADES)
FORMATS = {"AVIF": "avif", "HEIF": "heic"}  # by Pillow's names


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format", FORMATS)
def test_a_rotation_is_applied_once(format: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](SHADES)))
    content = saved(stored, format, exif=exif(orientation).tobytes(), quality=95)
    still = walk(content)
    assert (still.format, still.orientation, still.size) == (FORMATS[format], orientation, (48, 32))
    picture = decode(content, LIMIT)
    assert difference(picture.rgb, SHADES) < 6
    assert b"irot" not in still.content
    assert b"imir" not in still.content


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (63, 65), (130, 70)])
@pytest.mark.parametrize("format", FORMATS)
def test_pictures_of_any_size_are_cropped_to_it(format: str, size: tuple[int, int]) -> None:
    image = PICTURE.resize(size)
    content = saved(image, format, quality=95)
    assert walk(content).size == size
    picture = decode(content, LIMIT)
    assert picture.size == size
    assert difference(picture.rgb, np.asarray(image)) < 9


@pytest.mark.parametrize("format", FORMATS)
def test_alpha_is_read(format: str) -> None:
    image = PICTURE.copy()
    image.putalpha(Image.fromarray(SHADES[..., 0] // 2 + 9))
    picture = decode(saved(image, format, quality=95), LIMIT)
    assert picture.alpha is not None
    assert difference(picture.alpha, SHADES[..., 0] // 2 + 9) < 3
    assert difference(picture.rgb, SHADES) < 6


def test_a_grid_of_tiles_is_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 64)
    image = PICTURE.resize((200, 150), Image.Resampling.BICUBIC)
    content = saved(image, "HEIF", quality=95)
    assert b"grid" in content
    still = walk(content)
    assert still.size == (200, 150)
    picture = decode(content, LIMIT)
    assert difference(picture.rgb, np.asarray(image)) < 6
    rows_and_columns = b"\0\0\2\3"
    assert content.count(rows_and_columns + b"\0\xc8\0\x96") == 1
    for changed in (b"\0\0\3\3", b"\0\0\2\2"):
        with pytest.raises(BrokenImage, match="do not fit together"):
            walk(content.replace(rows_and_columns, changed))
    with pytest.raises(BrokenImage, match="do not fit together"):
        walk(content.replace(b"\2\3\0\xc8\0\x96", b"\2\3\7\xc8\0\x96"))


@pytest.mark.parametrize("profile", [LINEAR, SWAPPED])
@pytest.mark.parametrize("format", FORMATS)
def test_colours_are_converted_from_their_profile(format: str, profile: bytes) -> None:
    image = Image.new("RGB", (32, 32), (200, 55, 55))
    expected = decode(saved(image, "PNG", icc_profile=profile), LIMIT).rgb
    picture = decode(saved(image, format, icc_profile=profile, quality=100), LIMIT)
    assert difference(picture.rgb, expected) < 3
    assert difference(picture.rgb, np.asarray(image)) > 20


@pytest.mark.parametrize("format", FORMATS)
def test_a_profile_with_too_many_bytes_is_refused(format: str) -> None:
    larger = LINEAR.ljust(MAX_PROFILE + 1, b"\0")
    with pytest.raises(ImageTooLarge, match="profile of more than"):
        walk(saved(PICTURE, format, icc_profile=larger))


def test_10_bits_per_channel_are_read() -> None:
    tall = SHADES.astype(np.uint16) * 257
    file = io.BytesIO()
    pillow_heif.encode("RGB;16", (48, 32), tall.tobytes(), file, quality=95)
    picture = decode(file.getvalue(), LIMIT)
    assert difference(picture.rgb, SHADES) < 6


@pytest.mark.parametrize("format", FORMATS)
def test_a_decoder_sees_the_primary_picture_without_metadata(format: str) -> None:
    tags = exif(6)
    tags[0x013B] = "secret"
    content = saved(PICTURE, format, exif=tags.tobytes(), xmp=b"<x>secret</x>")
    still = walk(content + box(b"free", b"secret"))
    assert b"secret" in content
    assert b"secret" not in still.content
    assert len(still.content) < len(content)
    assert walk(still.content).content == still.content


@pytest.mark.parametrize("format", FORMATS)
def test_too_many_bytes_of_pixels_are_refused(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setattr(isobmff, "MAX_CODED", 100)
    with pytest.raises(ImageTooLarge, match="at most 100 are allowed"):
        walk(saved(PICTURE, format))


def test_a_large_header_of_the_codec_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(PICTURE.resize((90, 90)), "HEIF")
    monkeypatch.setattr(hevc, "MAX_CONFIGURATION", 50)
    with pytest.raises(BrokenImage, match="too large a header"):
        walk(content)


def test_a_sequence_that_states_another_size_is_broken() -> None:
    small, large = saved(PICTURE, "AVIF"), saved(PICTURE.resize((480, 320)), "AVIF")
    lying = large.replace(b"ispe" + bytes(4) + b"\0\0\1\xe0\0\0\1\x40", b"ispe" + small_size(small))
    assert lying != large
    with pytest.raises(BrokenImage, match="two different sizes"):
        walk(lying)


def small_size(avif: bytes) -> bytes:
    at = avif.index(b"ispe") + 4
    return avif[at : at + 12]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (box(b"ftyp", b"avis" + bytes(4)) + box(b"moov", b""), "video without a still picture"),
        (saved(PICTURE, "HEIF").replace(b"hvc1", b"avc1"), "coded as 'avc1'"),
        (box(b"ftyp", b"isom" + bytes(4)), "not an image of an allowed format"),
    ],
)
def test_other_contents_are_not_supported(content: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImage, match=says):
        walk(content)


def test_without_the_extra_heic_is_refused_and_the_extra_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = saved(PICTURE, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedImage, match=r"pip install 'pastiche-server\[heif\]'"):
        read_header(content, LIMIT)


@pytest.mark.parametrize("format", FORMATS)
def test_numbers_in_the_header_may_be_anything(format: str) -> None:
    image, rng, refused = PICTURE.convert("RGBA"), Random(format), 0
    image.putalpha(99)
    whole = saved(image, format)
    for _ in range(400):
        content = bytearray(whole)
        content[rng.randrange(600)] = rng.choice((0, 1, 127, 128, 255))
        try:
            picture = decode(bytes(content), LIMIT)
        except (BrokenImage, ImageTooLarge, UnsupportedImage):
            refused += 1
        else:
            assert picture.rgb.shape == (*picture.size[::-1], 3)
    assert 50 < refused < 400
