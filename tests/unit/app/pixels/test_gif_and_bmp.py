"""GIF and BMP of every kind."""

import struct

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenImage, UnsupportedImage
from app.pixels.containers import walk
from app.pixels.images import decode
from tests.tools.image_files import LINEAR, SHADES, saved

LIMIT = 1_000_000  # pixels
PICTURE = Image.fromarray(SHADES)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
@pytest.mark.parametrize("interlace", [0, 1])
def test_a_gif_is_read(mode: str, interlace: int) -> None:
    image = PICTURE.convert(mode)
    picture = decode(saved(image, "GIF", interlace=interlace, comment=b"secret"), LIMIT)
    assert (picture.format, picture.alpha) == ("gif", None)
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


def test_the_transparent_colour_of_a_gif_is_alpha() -> None:
    image = PICTURE.convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 32))
    picture = decode(saved(image, "GIF"), LIMIT)
    assert picture.alpha is not None
    assert not picture.alpha[:, :20].any()
    assert picture.alpha[:, 20:].all()


def frame(gif: bytes) -> int:
    """Where the first picture of a GIF without extensions starts."""
    return 13 + (3 << (gif[10] & 7) + 1)


def test_the_screen_grows_for_a_first_picture_that_exceeds_it() -> None:
    content = saved(PICTURE.convert("L"), "GIF")
    small = content[:6] + struct.pack("<HH", 5, 7) + content[10:]
    assert walk(small).size == (48, 32)
    assert np.array_equal(decode(small, LIMIT).rgb, decode(content, LIMIT).rgb)
    start = frame(content)
    assert content[start : start + 1] == b","
    moved = content[: start + 1] + struct.pack("<HH", 30_000, 40_000) + content[start + 5 :]
    assert walk(moved).size == (30_048, 40_032)


def test_a_later_picture_outside_the_screen_is_refused() -> None:
    content = saved(PICTURE.convert("L"), "GIF")
    start = frame(content)
    second = content[start:-1]
    assert walk(content[:-1] + second + b";").frames == 2
    outside = second[:1] + struct.pack("<HH", 1, 0) + second[5:]
    with pytest.raises(BrokenImage, match="frame outside its screen"):
        walk(content[:-1] + outside + b";")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_bmp_is_read(mode: str) -> None:
    image = PICTURE.convert(mode)
    picture = decode(saved(image, "BMP"), LIMIT)
    assert (picture.format, picture.alpha) == ("bmp", None)
    assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


def test_alpha_of_a_bmp_is_read() -> None:
    image = PICTURE.copy()
    image.putalpha(Image.fromarray(SHADES[..., 0] | 1))
    picture = decode(saved(image, "BMP"), LIMIT)
    assert picture.alpha is None or np.array_equal(picture.alpha, SHADES[..., 0] | 1)
    assert np.array_equal(picture.rgb, SHADES)


def bmp(header: bytes, rows: bytes, rest: bytes = b"") -> bytes:
    start = 14 + 4 + len(header)
    length = struct.pack("<I", 4 + len(header))
    return b"BM" + struct.pack("<IHHI", start, 0, 0, start) + length + header + rows + rest


ROWS = SHADES[..., ::-1].tobytes()  # blue, green, red; a row has a multiple of four bytes


def test_a_bmp_from_top_to_bottom_is_read() -> None:
    header = struct.pack("<iiHHI", 48, -32, 1, 24, 0) + bytes(20)
    assert np.array_equal(decode(bmp(header, ROWS), LIMIT).rgb, SHADES)


def test_a_bmp_with_the_oldest_header_is_read() -> None:
    header = struct.pack("<HHHH", 48, 32, 1, 24)
    assert np.array_equal(decode(bmp(header, ROWS), LIMIT).rgb, SHADES[::-1])


def test_the_profile_of_a_bmp_is_applied() -> None:
    rows = bytes([55]) * len(ROWS)
    header = struct.pack("<iiHHI", 48, 32, 1, 24, 0) + bytes(36) + b"DEBM"
    header += bytes(52) + struct.pack("<III", 124 + len(rows), len(LINEAR), 0)
    assert len(header) == 120
    picture = decode(bmp(header, rows, LINEAR), LIMIT)
    assert np.abs(picture.rgb.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("compression", [1, 2, 4, 5])
def test_a_compressed_bmp_is_refused(compression: int) -> None:
    header = struct.pack("<iiHHI", 48, 32, 1, 8, compression) + bytes(20)
    with pytest.raises(UnsupportedImage, match="bmp image is compressed"):
        walk(bmp(header, ROWS))
