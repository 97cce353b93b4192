"""Damaged images through the decoder, and damaged requests through a server: nothing may break.

python -m tests.tools.fuzz --images 1000000 --requests 20000 --jobs 2

Everything follows from the seed: what broke once breaks again. What broke is written to
tests/holes/, where tests/system/test_fuzz.py holds it from then on.
"""

import argparse
import hashlib
import io
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin
from tqdm import tqdm

from app.errors import PasticheError
from app.pixels.images import decode

HOLES = Path(__file__).resolve().parents[1] / "holes"
MAX_PIXELS = 250_000  # a forged size up to here is believed, and decoded
MAX_SECONDS = 1.0  # of CPU, for one image
BLOCK = 500  # images that follow from one seed
REQUESTS = 600  # that follow from one seed
INTERESTING = (0, 1, 2, 3, 15, 16, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 2**31, 2**32 - 1)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@cache
def corpus() -> tuple[bytes, ...]:
    """Small sound images in all formats and modes, with and without things beside the pixels."""
    y, x = np.mgrid[:18, :23]
    shades = np.dstack([11 * x, 14 * y, (x * y) % 256]).astype(np.uint8)
    rgb = Image.fromarray(shades)
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray((shades[..., 0] // 2 * 2).astype(np.uint8)))
    grey16 = Image.fromarray(shades[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "someone"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words " * 9, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    beside = {"exif": exif, "icc_profile": srgb}
    frames = {"save_all": True, "append_images": [rgb.rotate(9)]}
    found = [
        *(_saved(rgb.convert(m), "JPEG") for m in ("RGB", "L", "CMYK")),
        _saved(rgb, "JPEG", progressive=True, **beside, comment=b"words"),
        _saved(rgb, "JPEG", subsampling=2, restart_marker_blocks=1),
        _saved(rgb, "MPO", **frames),
        *(_saved(rgb.convert(m), "PNG") for m in ("RGB", "L", "1", "P")),
        *(_saved(rgba.convert(m), "PNG") for m in ("RGBA", "LA")),
        _saved(rgb, "PNG", **beside, pnginfo=text),
        _saved(rgb, "PNG", transparency=(0, 0, 0)),
        _saved(rgb.quantize(7), "PNG", transparency=b"\0\x80\xff", bits=4),
        _saved(grey16, "PNG"),
        _saved(grey16, "PNG", transparency=257),
        _saved(rgb, "PNG", **frames),
        *(_saved(image, "WEBP", quality=50) for image in (rgb, rgba)),
        *(_saved(image, "WEBP", lossless=True, **beside) for image in (rgb, rgba)),
        _saved(rgba, "WEBP", **beside, xmp=b"<x/>"),
        _saved(rgb, "WEBP", **frames),
    ]
    return tuple(found)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Name and data of each chunk as far as they can be told."""
    found, at = [], 8
    while at + 12 <= len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        found.append((name, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, each with the checksum that it should have."""
    parts = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def flip(chance: Random, content: bytearray) -> None:
    """Other bytes here and there, most of them near the start, where the header is."""
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        end = min(len(content), chance.choice((32, 200, len(content))))
        content[chance.randrange(end)] = chance.randrange(256)


def cut(chance: Random, content: bytearray) -> None:
    """Nothing from somewhere on."""
    del content[chance.randrange(1, len(content)) :]


def drop(chance: Random, content: bytearray) -> None:
    """A piece less."""
    at = chance.randrange(len(content))
    del content[at : at + chance.choice((1, 2, 4, 12, 64))]


def repeat_piece(chance: Random, content: bytearray) -> None:
    """A piece again and again."""
    at, size = chance.randrange(len(content)), chance.choice((1, 4, 20, 100))
    content[at:at] = content[at : at + size] * chance.choice((1, 1, 2, 40))


def splice(chance: Random, content: bytearray) -> None:
    """A piece of another file."""
    other = chance.choice(corpus())
    start, at = chance.randrange(len(other)), chance.randrange(len(content))
    content[at : at + chance.choice((0, 8, 64))] = other[
        start : start + chance.choice((8, 99, 999))
    ]


def misstate(chance: Random, content: bytearray) -> None:
    """A number such as lengths and sizes have, where one may stand."""
    form = chance.choice((">H", "<H", ">I", "<I"))
    size = struct.calcsize(form)
    at = chance.randrange(max(1, min(len(content) - size, chance.choice((64, len(content))))))
    number = chance.choice(INTERESTING) & (256**size - 1)
    content[at : at + size] = struct.pack(form, number)


def reseal(chance: Random, content: bytearray) -> None:
    """Chunks of a PNG mixed, and damage within them that no checksum tells."""
    chunks = _chunks(bytes(content))
    if not chunks or len(chunks) > 99:
        return
    at = chance.randrange(len(chunks))
    name, data = chunks[at]
    if name == b"IDAT" and chance.random() < 0.5:
        inflated = bytearray(zlib.decompressobj().decompress(data, 100_000))
        flip(chance, inflated)
        chunks[at] = name, zlib.compress(bytes(inflated), 1)
    elif data and chance.random() < 0.7:
        damaged = bytearray(data)
        chance.choice((flip, cut, misstate))(chance, damaged)
        chunks[at] = name, bytes(damaged)
    else:
        chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
    content[:] = _png(chunks)


DAMAGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(flip, cut, drop, repeat_piece, splice, misstate),
)


def damaged(chance: Random) -> bytes:
    """An image of the corpus, damaged in one way or a few."""
    content = bytearray(chance.choice(corpus()))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        is_png = content[:4] == b"\x89PNG"
        damage = reseal if is_png and chance.random() < 0.6 else chance.choice(DAMAGES)
        try:
            damage(chance, content)
        except (ValueError, zlib.error):  # too little is left to damage it so
            continue
    return bytes(content)


def fault(content: bytes) -> str | None:
    """What is wrong with how these bytes are decoded; None if they are decoded, or refused."""
    began = time.thread_time()
    try:
        picture = decode(content, MAX_PIXELS)
        width, height = picture.size
        sound = picture.rgb.shape == (height, width, 3) and width * height <= MAX_PIXELS
        told = None if sound else f"a picture of {picture.rgb.shape}"
    except PasticheError as error:
        told = None if 400 <= error.status < 500 else repr(error)
    except Exception as error:
        told = repr(error)
    seconds = time.thread_time() - began
    return f"{seconds:.1f} s of CPU" if told is None and seconds > MAX_SECONDS else told


def block(seed: int, number: int) -> list[tuple[bytes, str]]:
    """Those of the images of a block that are not decoded as they should be, and why."""
    chance = Random(f"{seed}:{number}")
    contents = (damaged(chance) for _ in range(BLOCK))
    return [(content, why) for content in contents if (why := fault(content)) is not None]


def images(count: int, seed: int, jobs: int) -> int:
    """Decode so many damaged images; how many broke it, each kept in HOLES.

    A worker that dies raises.
    """
    broken, blocks = 0, range(-(-count // BLOCK))
    with ProcessPoolExecutor(jobs) as pool, tqdm(total=count, unit="image") as bar:
        for faults in pool.map(block, repeat(seed), blocks):
            bar.update(BLOCK)
            for content, why in faults:
                broken += 1
                hole = HOLES / hashlib.sha256(content).hexdigest()[:16]
                hole.write_bytes(content)
                tqdm.write(f"{hole}: {why}")
    return broken


def requests(count: int, seed: int) -> int:
    """Send at least so many requests to a server with a tiny network; how many it were.

    Raises at the first fault.
    """
    from app.settings import read_settings
    from tests.conftest import STYLES, make_folder
    from tests.system.test_server import wait_for_status
    from tests.tools.fuzz_http import send_all
    from tests.tools.serving import served

    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder) / "tiny")
        settings = read_settings(models=folder, device="cpu", threads=1, header_seconds=1)
        with served(settings) as port:
            wait_for_status(port, "ready")
            sent = 0
            with tqdm(total=count, unit="request") as bar:
                while sent < count:
                    sent += (more := send_all(port, seed, REQUESTS, STYLES[0]))
                    seed += 1
                    bar.update(more)
            return sent


def main() -> int:
    """Run; 0 if nothing broke."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    broken = images(arguments.images, arguments.seed, arguments.jobs)
    sent = requests(arguments.requests, arguments.seed) if arguments.requests else 0
    print(f"{arguments.images} images: {broken} faults; {sent} requests: none")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
