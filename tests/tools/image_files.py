"""Image files and colour profiles for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()  # so that Pillow writes HEIC

Y, X = np.mgrid[:32, :48]
SHADES = np.dstack([5 * X, 7 * Y, 128 + 99 * np.sin(X * Y / 99)]).astype(np.uint8)  # 48 x 32


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_header(width: int, height: int) -> bytes:
    """A PNG file with a header and no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, content)
        for name, content in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b""))
    )


def box(name: bytes, content: bytes) -> bytes:
    """A box of an AVIF or a HEIC."""
    return struct.pack(">I4s", 8 + len(content), name) + content


Entries = dict[int, int | tuple[int, ...]]  # of a TIFF, by their tags


def tiff(entries: Entries, order: str = "<", data: bytes = b"") -> bytes:
    """A TIFF with one directory of numbers, after which `data` follows."""
    rest, end = b"", 14 + 12 * len(entries)
    directory = struct.pack(order + "H", len(entries))
    for tag, value in entries.items():
        values = value if isinstance(value, tuple) else (value,)
        numbers = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            rest, numbers = rest + numbers, struct.pack(order + "I", end + len(rest))
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + numbers
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "I", 8) + directory + bytes(4) + rest + data


# ICC profiles as in ICC.1:2001-04: a header, a table of tags, the tags.


def s15f16(*numbers: float) -> bytes:
    """Fixed-point numbers."""
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def profile(device: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of a class of devices, from a colour space to a connection space."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI", 128 + len(table) + len(body), 0x02400000)
    header += device + space + pcs + bytes(12) + b"acsp" + bytes(28)
    header += s15f16(0.9642, 1.0, 0.8249)  # D50, the illuminant of all profiles
    return header.ljust(128, b"\0") + table + body


def xyz(*numbers: float) -> bytes:
    return b"XYZ \0\0\0\0" + s15f16(*numbers)


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


SRGB_RED, SRGB_GREEN, SRGB_BLUE = (
    (0.4360, 0.2225, 0.0139),
    (0.3851, 0.7169, 0.0971),
    (0.1431, 0.0606, 0.7139),
)  # XYZ under D50


def rgb_profile(
    exponent: float,
    red: tuple[float, ...] = SRGB_RED,
    green: tuple[float, ...] = SRGB_GREEN,
) -> bytes:
    curve = gamma(exponent)
    columns = {b"rXYZ": xyz(*red), b"gXYZ": xyz(*green), b"bXYZ": xyz(*SRGB_BLUE)}
    return profile(
        b"mntr", b"RGB ", b"XYZ ", {**columns, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    )


LINEAR = rgb_profile(1.0)
SWAPPED = rgb_profile(2.2, red=SRGB_GREEN, green=SRGB_RED)
LINEAR_GREY = profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": gamma(1.0)})


IDENTITY = s15f16(1, 0, 0, 0, 1, 0, 0, 0, 1)


def red_for_cyan() -> bytes:
    """A CMYK profile with two inks: cyan prints red, black prints black."""
    ramp = bytes(range(256))
    white, red, black = b"\xff\x80\x80", bytes((138, 208, 195)), b"\0\x80\x80"  # L, a, b
    lookup = (white + black) * 4 + (red + black) * 4  # black varies fastest, cyan slowest
    table = b"mft1\0\0\0\0\x04\x03\x02\0" + IDENTITY + ramp * 4 + lookup + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def grey_by_table() -> bytes:
    """An RGB profile with a lookup table that maps the green channel to grey."""
    ramp = bytes(range(256))
    black, white = b"\0\x80\x80", b"\xff\x80\x80"  # L, a, b
    lookup = (black * 2 + white * 2) * 2  # blue varies fastest, red slowest
    table = b"mft1\0\0\0\0\x03\x03\x02\0" + IDENTITY + ramp * 3 + lookup + ramp * 3
    return profile(b"mntr", b"RGB ", b"Lab ", {b"A2B0": table})
