"""Fuzz the decoder with damaged images, and a server with malformed requests.

python -m tests.tools.fuzz --images 1000000 --requests 20000 --jobs 2

All inputs follow from the seed, so failures can be reproduced. Images that break the decoder are
written to tests/holes/, where tests/system/test_fuzz.py picks them up as regression tests.
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
from pillow_heif import register_heif_opener
from tqdm import tqdm

from app.errors import PasticheError
from app.pixels.animation import check_animation, read_animation
from app.pixels.images import decode, read_header

HOLES = Path(__file__).resolve().parents[1] / "holes"
MAX_PIXELS = 250_000  # images with a forged size up to here are decoded
MAX_FRAMES = 20
MAX_SECONDS = 1.0  # CPU time per image
BLOCK = 500  # images per seed
REQUESTS = 600  # requests per seed
INTERESTING = (0, 1, 2, 3, 15, 16, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 2**31, 2**32 - 1)


register_heif_opener()  # so that Pillow writes HEIC


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@cache
def corpus() -> tuple[bytes, ...]:
    """Return small valid images in all formats and modes, with and without metadata."""
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
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>', zip=True)
    text.add_text("Raw profile type exif", "\nexif\n 9\n" + exif.tobytes().hex(), zip=True)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    metadata = {"exif": exif, "icc_profile": srgb}
    frames = {"save_all": True, "append_images": [rgb.rotate(9)]}
    found = [
        *(_saved(rgb.convert(m), "JPEG") for m in ("RGB", "L", "CMYK")),
        _saved(rgb, "JPEG", progressive=True, **metadata, comment=b"words"),
        _saved(rgb, "JPEG", subsampling=2, restart_marker_blocks=1),
        _saved(rgb, "MPO", **frames),
        *(_saved(rgb.convert(m), "PNG") for m in ("RGB", "L", "1", "P")),
        *(_saved(rgba.convert(m), "PNG") for m in ("RGBA", "LA")),
        _saved(rgb, "PNG", **metadata, pnginfo=text),
        _saved(rgb, "PNG", transparency=(0, 0, 0)),
        _saved(rgb.quantize(7), "PNG", transparency=b"\0\x80\xff", bits=4),
        _saved(grey16, "PNG"),
        _saved(grey16, "PNG", transparency=257),
        _saved(rgb, "PNG", **frames),
        *(_saved(image, "WEBP", quality=50) for image in (rgb, rgba)),
        *(_saved(image, "WEBP", lossless=True, **metadata) for image in (rgb, rgba)),
        _saved(rgba, "WEBP", **metadata, xmp=b"<x/>"),
        _saved(rgb, "WEBP", **frames),
        *(_saved(image, "AVIF", speed=9) for image in (rgb, rgba, rgb.convert("L"))),
        _saved(rgb, "AVIF", speed=9, **metadata, xmp=b"<x/>"),
        _saved(rgb, "AVIF", speed=9, **frames),
        *(_saved(image, "HEIF") for image in (rgb, rgba, rgb.resize((70, 40)))),
        _saved(rgb, "HEIF", icc_profile=srgb, exif=exif.tobytes()),
        *(_saved(rgb.convert(m), "TIFF") for m in ("RGB", "L", "1", "P", "CMYK", "LA")),
        *(_saved(rgb, "TIFF", compression=c) for c in ("tiff_lzw", "tiff_deflate", "packbits")),
        _saved(rgba, "TIFF", **metadata),
        _saved(grey16, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
        _saved(rgb, "TIFF", tiffinfo={278: 5}, big_tiff=False),
        *(_saved(image, "GIF") for image in (rgb, rgba, rgb.convert("L"))),
        _saved(rgba, "GIF", **frames, duration=40, loop=0, disposal=2),
        *(_saved(image, "BMP") for image in (rgb, rgba, rgb.convert("P"), rgb.convert("1"))),
    ]
    return tuple(found)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the name and data of each chunk that can be read."""
    found, at = [], 8
    while at + 12 <= len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        found.append((name, png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of these chunks with valid checksums."""
    parts = [
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def flip(rng: Random, content: bytearray) -> None:
    """Change some bytes, most of them near the start, where the header is."""
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        end = min(len(content), rng.choice((32, 200, len(content))))
        content[rng.randrange(end)] = rng.randrange(256)


def cut(rng: Random, content: bytearray) -> None:
    """Cut off the end."""
    del content[rng.randrange(1, len(content)) :]


def drop(rng: Random, content: bytearray) -> None:
    """Delete a piece."""
    at = rng.randrange(len(content))
    del content[at : at + rng.choice((1, 2, 4, 12, 64))]


def repeat_piece(rng: Random, content: bytearray) -> None:
    """Repeat a piece."""
    at, size = rng.randrange(len(content)), rng.choice((1, 4, 20, 100))
    content[at:at] = content[at : at + size] * rng.choice((1, 1, 2, 40))


def splice(rng: Random, content: bytearray) -> None:
    """Insert a piece of another file."""
    other = rng.choice(corpus())
    start, at = rng.randrange(len(other)), rng.randrange(len(content))
    content[at : at + rng.choice((0, 8, 64))] = other[start : start + rng.choice((8, 99, 999))]


def misstate(rng: Random, content: bytearray) -> None:
    """Write a number such as a length or size where one may be."""
    form = rng.choice((">H", "<H", ">I", "<I"))
    size = struct.calcsize(form)
    at = rng.randrange(max(1, min(len(content) - size, rng.choice((64, len(content))))))
    number = rng.choice(INTERESTING) & (256**size - 1)
    content[at : at + size] = struct.pack(form, number)


def reseal(rng: Random, content: bytearray) -> None:
    """Rearrange or damage the chunks of a PNG, with valid checksums."""
    chunks = _chunks(bytes(content))
    if not chunks or len(chunks) > 99:
        return
    at = rng.randrange(len(chunks))
    name, data = chunks[at]
    if name == b"IDAT" and rng.random() < 0.5:
        inflated = bytearray(zlib.decompressobj().decompress(data, 100_000))
        flip(rng, inflated)
        chunks[at] = name, zlib.compress(bytes(inflated), 1)
    elif data and rng.random() < 0.7:
        damaged = bytearray(data)
        rng.choice((flip, cut, misstate))(rng, damaged)
        chunks[at] = name, bytes(damaged)
    else:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    content[:] = _png(chunks)


DAMAGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(flip, cut, drop, repeat_piece, splice, misstate),
)


def damaged(rng: Random) -> bytes:
    """Return an image of the corpus, damaged in one or more ways."""
    content = bytearray(rng.choice(corpus()))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        is_png = content[:4] == b"\x89PNG"
        damage = reseal if is_png and rng.random() < 0.6 else rng.choice(DAMAGES)
        try:
            damage(rng, content)
        except (ValueError, zlib.error):  # too little is left for this kind of damage
            continue
    return bytes(content)


def fault(content: bytes) -> str | None:
    """Decode an image, and describe what went wrong.

    Return None if it is decoded or rejected with a PasticheError of status 4xx, in time.
    """
    start = time.thread_time()
    try:
        picture = decode(content, MAX_PIXELS)
        width, height = picture.size
        valid = picture.rgb.shape == (height, width, 3) and width * height <= MAX_PIXELS
        reason = None if valid else f"a picture of {picture.rgb.shape}"
        still = read_header(content, MAX_PIXELS)
        if still.frames > 1:
            check_animation(still, MAX_FRAMES, MAX_PIXELS)
            frames = read_animation(still).frames
            if {frame.size for frame in frames} != {picture.size}:
                reason = "frames of another size"
    except PasticheError as error:
        reason = None if 400 <= error.status < 500 else repr(error)
    except Exception as error:
        reason = repr(error)
    seconds = time.thread_time() - start
    return f"{seconds:.1f} s of CPU" if reason is None and seconds > MAX_SECONDS else reason


def block(seed: int, number: int) -> list[tuple[bytes, str]]:
    """Return the images of a block that break the decoder, and why."""
    rng = Random(f"{seed}:{number}")
    contents = (damaged(rng) for _ in range(BLOCK))
    return [(content, why) for content in contents if (why := fault(content)) is not None]


def images(count: int, seed: int, jobs: int) -> int:
    """Decode `count` damaged images. Save those that break the decoder, and return their number.

    Raises BrokenProcessPool if one of them ends the process.
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
    """Send at least `count` requests to a server with a tiny network, and return their number.

    Raises fuzz_http.Failure at the first failure.
    """
    from app.settings import read_settings
    from tests.conftest import STYLES, make_folder
    from tests.tools.fuzz_http import send_all
    from tests.tools.servers import serve_in_thread, wait_for_status

    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder) / "tiny")
        settings = read_settings(models=folder, device="cpu", threads=1, header_seconds=1)
        with serve_in_thread(settings) as port:
            wait_for_status(port, "ready")
            sent = 0
            with tqdm(total=count, unit="request") as bar:
                while sent < count:
                    sent += (more := send_all(port, seed, REQUESTS, STYLES[0]))
                    seed += 1
                    bar.update(more)
            return sent


def main() -> int:
    """Run the command. Return 0 if nothing broke."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    broken = images(arguments.images, arguments.seed, arguments.jobs)
    sent = requests(arguments.requests, arguments.seed) if arguments.requests else 0
    print(f"{arguments.images} images: {broken} failures; {sent} requests: none")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
