"""Every kind of PNG in the specification, compared with another decoder; and broken files."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import png
import pytest
from numpy.typing import NDArray

from app.errors import BrokenImage, PasticheError, UnsupportedImage
from app.pixels.images import Picture, decode
from tests.tools.image_files import LINEAR_GREY, chunk

LIMIT = 1_000_000  # pixels
Samples = NDArray[np.int64]

DEPTHS = {"grey": (1, 2, 4, 8, 16), "rgb": (8, 16), "palette": (1, 2, 4, 8)}
CHANNELS = {"grey": 1, "rgb": 3, "palette": 1}


def written(samples: Samples, bitdepth: int, **options: object) -> bytes:
    """A PNG of samples [H, W, C]."""
    height, width, channels = samples.shape
    kind = (
        {"greyscale": channels < 3, "alpha": channels % 2 == 0} if "palette" not in options else {}
    )
    out = io.BytesIO()
    writer = png.Writer(width, height, bitdepth=bitdepth, **kind, **options)
    writer.write(out, samples.reshape(height, -1).tolist())
    return out.getvalue()


def random_samples(channels: int, bitdepth: int, width: int = 37, height: int = 21) -> Samples:
    return np.random.default_rng(bitdepth).integers(0, 2**bitdepth, (height, width, channels))


def with_key(samples: Samples, key: Samples) -> Samples:
    """Set some pixels to the transparent colour, and others to colours that differ by a bit."""
    samples[::3, ::2] = key
    samples[1::3, ::2] = key ^ 1
    samples[2::3, ::2] = key ^ (samples.max() + 1) // 2
    return samples


def kinds() -> Iterator[tuple[str, bytes]]:
    for interlace in (False, True):
        more = {"interlace": interlace}
        suffix = " interlaced" if interlace else ""
        for colours, depths in DEPTHS.items():
            for depth in depths:
                samples = random_samples(CHANNELS[colours], depth)
                name = f"{colours} {depth}{suffix}"
                if colours == "palette":
                    table = np.random.default_rng(0).integers(0, 256, (2**depth, 4))
                    rgb, rgba = [tuple(map(tuple, table[:, :n].tolist())) for n in (3, 4)]
                    yield name, written(samples, depth, palette=rgb, **more)
                    yield f"{name} alpha", written(samples, depth, palette=rgba, **more)
                    continue
                yield name, written(samples, depth, **more)
                key = samples[0, 0].copy()
                transparent = key.tolist() if len(key) > 1 else int(key[0])
                keyed = with_key(samples, key)
                yield f"{name} key", written(keyed, depth, transparent=transparent, **more)
                if depth >= 8:
                    samples = random_samples(CHANNELS[colours] + 1, depth)
                    yield f"{name} alpha", written(samples, depth, **more)


KINDS = dict(kinds())


def expected(content: bytes) -> tuple[Samples, Samples]:
    """8-bit colours [H, W, 3] and alpha [H, W] according to another decoder."""
    width, height, rows, info = png.Reader(bytes=content).asRGBA()
    rgba = np.array([list(row) for row in rows]).reshape(height, width, 4)
    grey = content[25] == 0
    if info["bitdepth"] == 16 and not grey:
        rgba >>= 8  # keep the upper byte
    else:
        rgba = np.round(rgba * (255 / (2 ** info["bitdepth"] - 1))).astype(np.int64)
    return rgba[..., :3], rgba[..., 3]


def check(picture: Picture, content: bytes) -> None:
    rgb, alpha = expected(content)
    got = np.full_like(alpha, 255) if picture.alpha is None else picture.alpha
    assert np.array_equal(got, alpha)
    assert np.array_equal(picture.rgb[alpha > 0], rgb[alpha > 0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png_is_read_as_another_decoder_reads_it(kind: str) -> None:
    picture = decode(KINDS[kind], LIMIT)
    check(picture, KINDS[kind])
    assert (picture.alpha is not None) == kind.endswith(("key", "alpha"))


@pytest.mark.parametrize("side", range(16, 25))
def test_interlaced_pictures_of_odd_sizes_are_read(side: int) -> None:
    content = written(random_samples(3, 8, side, 40 - side), 8, interlace=True)
    check(decode(content, LIMIT), content)


@pytest.mark.parametrize("axis", [1, 2], ids=["sub", "up"])
def test_a_transparent_colour_of_16_bits_is_found_in_filtered_rows(axis: int) -> None:
    samples = with_key(random_samples(3, 16), np.array([300, 40_000, 7]))
    content = written(samples, 16, transparent=(300, 40_000, 7))
    octets = samples.astype(">u2").view(np.uint8).reshape(21, 37, 6)
    filtered = np.diff(octets, axis=2 - axis, prepend=np.uint8(0)).reshape(21, -1)
    rows = np.concatenate([np.full((21, 1), axis, np.uint8), filtered], axis=1)
    at = content.index(b"IDAT") - 4
    pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    check(decode(content[:at] + pixels + content[-12:], LIMIT), content)


def test_a_grey_profile_is_applied_to_16_bits_of_grey_and_alpha() -> None:
    samples = np.full((16, 16, 2), 55 * 257)
    content = written(samples, 16)
    profile = chunk(b"iCCP", b"grey\0\0" + zlib.compress(LINEAR_GREY))
    picture = decode(content[:33] + profile + content[33:], LIMIT)
    assert np.abs(picture.rgb.astype(int) - 128).max() <= 1
    assert picture.alpha is not None
    assert (picture.alpha == 55).all()


@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.5])
def test_a_gamma_is_ignored(gamma: float) -> None:
    samples = random_samples(3, 8)
    picture = decode(written(samples, 8, gamma=gamma), LIMIT)
    assert np.array_equal(picture.rgb, samples)


WHOLE = KINDS["rgb 8"]


def with_header(depth: int, colour: int) -> bytes:
    header = WHOLE[16:24] + struct.pack(">BB", depth, colour) + WHOLE[26:29]
    return WHOLE[:8] + chunk(b"IHDR", header) + WHOLE[33:]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"\x09" + WHOLE[1:], UnsupportedImage, "allowed format"),
        (WHOLE.replace(b"\r\n", b"\r", 1), UnsupportedImage, "allowed format"),
        (WHOLE.replace(b"\r\n", b"\n", 1), UnsupportedImage, "allowed format"),
        (with_header(8, 1), BrokenImage, "png image cannot be decoded"),
        (with_header(8, 9), BrokenImage, "png image cannot be decoded"),
        (with_header(0, 2), BrokenImage, "png image cannot be decoded"),
        (with_header(3, 2), BrokenImage, "png image cannot be decoded"),
        (with_header(99, 2), BrokenImage, "png image cannot be decoded"),
        (WHOLE[:29] + b"\0\0\0\0" + WHOLE[33:], BrokenImage, "png image cannot be decoded"),
        (WHOLE[:-16] + b"\0\0\0\0" + WHOLE[-12:], BrokenImage, "checksum of its pixels"),
        (WHOLE[:33] + WHOLE[-12:], BrokenImage, "has no pixels"),
        (WHOLE[:-12], BrokenImage, "truncated: it has no end chunk"),
        (WHOLE[:-14], BrokenImage, "truncated"),
    ],
)
def test_a_broken_png_is_refused_with_what_is_wrong(
    content: bytes, error: type[PasticheError], says: str
) -> None:
    with pytest.raises(error, match=says):
        decode(content, LIMIT)
