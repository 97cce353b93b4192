"""Decode image files to upright sRGB pixels, and encode them.

The only module that imports Pillow and its plugin for HEIC. Whatever they raise on a client's file
becomes an error of `errors`.
"""

import importlib.util
import io
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import BadOption, BrokenImage, ImageTooLarge, UnsupportedImage
from .containers import walk
from .containers.still import FILE_FORMATS as FILE_FORMATS
from .containers.still import FileFormat as FileFormat
from .containers.still import Still

Pixels = NDArray[np.uint8]
Format = Literal["jpeg", "png", "webp", "avif", "gif"]
"""A format that pictures are written in. Each is also a FileFormat, which they are read from."""

FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {f: f"image/{f}" for f in FORMATS}
SUFFIXES: dict[str, FileFormat] = {
    **{".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".avif": "avif"},
    **{".heic": "heic", ".heif": "heic", ".tif": "tiff", ".tiff": "tiff"},
    **{".gif": "gif", ".bmp": "bmp"},
}
HEIF_EXTRA = "the extra `heif`: pip install 'pastiche-server[heif]'"
PIXELS_SETTING = "PASTICHE_MAX_PIXELS"
MAX_SIDES: dict[Format, int] = {  # pixels
    **{"jpeg": 65_500, "png": 2**31 - 1, "webp": 16_383, "avif": 32_768, "gif": 65_535}
}
_AVIF_SPEED = 9  # of 0 to 10; 8 takes six times as long on noise
_ANSWERS: dict[FileFormat, Format] = {"heic": "jpeg", "tiff": "png", "bmp": "png"}
# Not Image.open, which tries other formats too and has its own limit on pixels.
_READERS: dict[FileFormat, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "tiff": TiffImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
}
_SRGB = ImageCms.createProfile("sRGB")
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # 8-bit step between two shades, by Pillow's raw mode
_TRANSPOSITIONS = {  # that make an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """Decoded pixels: rgb uint8 [H, W, 3] in sRGB, upright; alpha uint8 [H, W] or None if opaque.

    Fully transparent pixels have the mean colour of the others. `full_size` is the picture's
    (width, height) if rgb was decoded at a smaller size, see read_pixels.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    format: FileFormat = "png"
    full_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        return self.full_size or (self.rgb.shape[1], self.rgb.shape[0])


def readable_formats() -> tuple[FileFormat, ...]:
    """The formats that can be read, which include HEIC only if the extra `heif` is installed."""
    has_heif = importlib.util.find_spec("pillow_heif") is not None
    return tuple(format for format in FILE_FORMATS if format != "heic" or has_heif)


def default_answer(format: FileFormat) -> Format:
    """The format to write a picture in that was read from a file of a format."""
    return next((f for f in FORMATS if f == format), None) or _ANSWERS[format]


def read_header(
    content: bytes,
    max_pixels: int,
    limit: str = PIXELS_SETTING,
    formats: Collection[FileFormat] = FILE_FORMATS,
) -> Still:
    """Parse the file without decoding its pixels, and check its dimensions.

    limit: the name of what sets max_pixels, for the error message. formats: those that are allowed.
    Of a file with several pictures, it is the first. Raises UnsupportedImage, BrokenImage,
    ImageTooLarge.
    """
    still = walk(content, formats)
    if still.format not in readable_formats():
        raise UnsupportedImage(f"the image is a {still.format}, which takes {HEIF_EXTRA}")
    if still.pixels == 0:
        raise BrokenImage(f"the image is {still.width}x{still.height} pixels, none in all")
    if still.pixels > max_pixels:
        raise ImageTooLarge(
            f"the image is {still.width}x{still.height} pixels, {still.pixels:,} in all; "
            f"at most {max_pixels:,} are allowed ({limit})"
        )
    return still


def decode(content: bytes, max_pixels: int, limit: str = PIXELS_SETTING) -> Picture:
    """Decode an image file at its full size.

    Raises the errors of read_header, which describes the arguments, and of read_pixels.
    """
    return read_pixels(read_header(content, max_pixels, limit))


def read_pixels(still: Still, within: tuple[int, int] | None = None) -> Picture:
    """Decode the result of read_header: make it upright, convert it to sRGB, separate the alpha.

    within: the (width, height) at which you need rgb; None is the picture's own. If it is smaller
    than the picture, rgb may be shrunk to it: if the decoder can read a reduced picture (JPEG), or
    if the colours are slow to convert (CMYK, profiles with lookup tables). Alpha always has the
    picture's size. Raises BrokenImage if the pixels cannot be decoded, ImageTooLarge.
    """
    try:
        image = _open(still)
        if image.size == (still.width, still.height):  # else Pillow found another header
            if within is not None and isinstance(image, JpegImageFile):
                # JPEG decoders can scale by a half, a quarter or an eighth: it saves memory.
                image.draft(None, within if still.size == image.size else within[::-1])
            loaded = _load(image, still)
            if loaded.size == (still.width, still.height) or still.format == "jpeg":
                visible = loaded if still.crop is None else loaded.crop(still.crop)
                return _picture(transposed(visible, still.orientation), still, within)
    except Image.DecompressionBombError as error:  # Pillow's readers of WebP and TIFF
        raise ImageTooLarge(
            f"the {still.format} image has more pixels than can be decoded"
        ) from error
    except Exception as error:
        # On damaged files Pillow raises exceptions of almost any type.
        raise BrokenImage(f"the {still.format} image cannot be decoded: it is damaged") from error
    raise BrokenImage(f"the {still.format} image states two different sizes")


def from_pillow(image: Image.Image, format: FileFormat = "png") -> Picture:
    """Convert a Pillow image of any mode: upright, in sRGB."""
    opaque, alpha = _split_alpha(_to_8_bits(_upright(image)))
    rgb = _to_srgb(opaque)
    if alpha is None:
        return Picture(np.asarray(rgb), None, format)
    return Picture(np.asarray(_fill_transparent(rgb, alpha)), np.asarray(alpha), format)


def from_array(array: NDArray[np.generic]) -> Picture:
    """Convert an array uint8 [H, W], grey, [H, W, 3], RGB in sRGB, or [H, W, 4], RGB and alpha.

    Raises UnsupportedImage for other types and shapes.
    """
    shape = array.shape
    if array.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise UnsupportedImage(
            f"the array is {array.dtype} {list(shape)}; "
            "it must be uint8 [H, W], [H, W, 3] or [H, W, 4]"
        )
    return from_pillow(Image.fromarray(np.ascontiguousarray(array)))


def read_picture(image: object, max_pixels: int) -> Picture:
    """Decode a path or the bytes of a file, or convert a Pillow image or an array, see from_array.

    Raises TypeError for anything else, OSError if a file cannot be read, BrokenImage if there are
    no pixels, ImageTooLarge above max_pixels, and the errors of `decode`.
    """
    if isinstance(image, (str, Path)):
        return decode(Path(image).read_bytes(), max_pixels, "max_pixels")
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode(bytes(image), max_pixels, "max_pixels")
    if isinstance(image, Image.Image):
        return _with_pixels(from_pillow(image))
    if isinstance(image, np.ndarray):
        return _with_pixels(from_array(image))
    raise TypeError(
        "an image must be a path, the bytes of a file, a Pillow image or a NumPy array, "
        f"not {type(image).__name__}"
    )


def _with_pixels(picture: Picture) -> Picture:
    if 0 in picture.size:
        raise BrokenImage("the image has no pixels")
    return picture


def _open(still: Still) -> ImageFile:
    image = reader(still.format)(io.BytesIO(still.content))
    if still.profile is not None:
        image.info["icc_profile"] = still.profile
    return image


def reader(format: FileFormat) -> type[ImageFile]:
    """Pillow's class for files of a format."""
    if format == "heic":
        from pillow_heif import HeifImageFile  # of an extra

        reader: type[ImageFile] = HeifImageFile
        return reader
    return _READERS[format]


def _load(image: ImageFile, still: Still) -> Image.Image:
    # Two peculiarities of Pillow's PNG reader: it compares the transparent colour with pixels that
    # it has already reduced to 8 bits, and it reads 16-bit grey with alpha as RGBA.
    raw = image.tile[0].args if still.format == "png" else None
    key = image.info.get("transparency")
    image.load()
    if raw == "LA;16B":
        return image.convert("LA")
    if raw in _GREY_STEPS and key is not None:
        image.info["transparency"] = key * _GREY_STEPS[raw]
    elif raw == "RGB;16B" and key is not None:
        del image.info["transparency"]
        low = _open(still)  # reading it as little-endian keeps the lower byte instead of the upper
        low.tile = [low.tile[0]._replace(args="RGB;16L")]
        visible = np.zeros(image.size[::-1], bool)
        for channel, value in enumerate(key):
            visible |= np.asarray(image.getchannel(channel)) != value >> 8
            visible |= np.asarray(low.getchannel(channel)) != value & 255
        image.putalpha(Image.fromarray(visible.astype(np.uint8) * 255))
    return image


def _picture(image: Image.Image, still: Still, within: tuple[int, int] | None) -> Picture:
    is_smaller = within is not None and within[0] * within[1] < still.pixels
    is_reduced = image.size != still.size
    if within is None or not is_smaller or not (is_reduced or _converts_slowly(image)):
        return from_pillow(image, still.format)
    opaque, alpha = _split_alpha(image)
    if alpha is not None:
        opaque = _fill_transparent(opaque, alpha)
    small = opaque.resize(within, Image.Resampling.LANCZOS, reducing_gap=3)
    rgb = np.asarray(_to_srgb(small))
    return Picture(rgb, None if alpha is None else np.asarray(alpha), still.format, still.size)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The image without alpha, its profile kept, and its alpha, or None if all is opaque."""
    has_alpha = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if image.mode != "P" and not has_alpha:
        return image, None
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    # Keep grey as grey: its profile applies to one channel.
    opaque = image.convert("L") if image.mode in ("L", "LA") else rgba.convert("RGB")
    return opaque, None if alpha.getextrema()[0] == 255 else alpha


def to_pillow(picture: Picture) -> Image.Image:
    """Convert to RGB, or to RGBA with fully transparent pixels in black if there is alpha."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
        hidden = np.asarray(image) * (picture.alpha > 0)[..., None].astype(np.uint8)
        image = Image.fromarray(hidden)
    return image


def to_palette(image: Image.Image) -> Image.Image:
    """Reduce RGB to 256 colours, a hundred times as fast as Pillow does when it writes a GIF."""
    if image.mode != "RGB":
        return image
    return image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def check_format(format: Format, width: int, height: int) -> None:
    """Raise BadOption if a file of this format cannot have this size."""
    if max(width, height) > MAX_SIDES[format]:
        raise BadOption(
            f"format: {format} allows at most {MAX_SIDES[format]:,} pixels per side; "
            f"the image is {width}x{height}"
        )


def encode(picture: Picture, format: Format, quality: int = 90) -> bytes:
    """Encode without metadata. JPEG has no alpha: it shows the picture on white.

    format: it must be able to hold the picture, see check_format. quality: from 1 to 100; PNG
    and GIF ignore it.
    """
    image = to_pillow(picture)
    out = io.BytesIO()
    if format == "jpeg":
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        image.save(out, "JPEG", quality=quality, subsampling="4:4:4")
    elif format == "webp":
        image.save(out, "WEBP", quality=quality, method=2)
    elif format == "avif":
        image.save(out, "AVIF", quality=quality, speed=_AVIF_SPEED, subsampling="4:4:4")
    elif format == "gif":
        to_palette(image).save(out, "GIF")
    else:
        # Brush strokes hardly compress; higher levels take longer and save little.
        image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def resize(rgb: Pixels, size: tuple[int, int]) -> Pixels:
    """Resample rgb uint8 [H, W, 3] to (width, height)."""
    height, width, _ = rgb.shape
    if size == (width, height):
        return rgb
    # Enlarging by Lanczos takes longer and draws halos along edges.
    grows = size[0] * size[1] > width * height
    method = Image.Resampling.BICUBIC if grows else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(rgb).resize(size, method, reducing_gap=3))


def blend(first: Pixels, second: Pixels, weight: float) -> Pixels:
    """Mix two images uint8 [H, W, 3]; weight: from 0, the first, to 1, the second."""
    return np.asarray(Image.blend(Image.fromarray(first), Image.fromarray(second), weight))


def with_colors_of(photo: Pixels, painted: Pixels) -> Pixels:
    """The luminance of `painted` with the chrominance of `photo`, both uint8 [H, W, 3].

    After Gatys et al., arXiv:1606.05897.
    """
    luminance = Image.fromarray(painted).convert("YCbCr").getchannel(0)
    _, blue, red = Image.fromarray(photo).convert("YCbCr").split()
    return np.asarray(Image.merge("YCbCr", (luminance, blue, red)).convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose, which rewrites the EXIF and fails if any of it is invalid.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return image  # ignore broken EXIF
    return transposed(image, orientation)


def transposed(image: Image.Image, orientation: int) -> Image.Image:
    """Make an image upright that has this EXIF orientation."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, where Pillow would clip it. Other images are unchanged."""
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.uint32)
    scaled = Image.fromarray(((grey.clip(0, 65535) + 128) // 257).astype(np.uint8))
    if (key := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(np.where(grey == key, 0, 255).astype(np.uint8)))
    scaled.info["icc_profile"] = image.info.get("icc_profile")
    return scaled


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L") and _is_cheap(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # ignore a broken profile, or one for another colour space
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_cheap(profile: bytes) -> bool:
    # D2B tags hold chains of any number of operations, which run at every point of a large grid.
    return len(profile) >= 132 and not _has_tag(profile, b"D2B")


def _converts_slowly(image: Image.Image) -> bool:
    """Whether converting the colours takes multidimensional lookup tables."""
    if image.mode == "CMYK":
        return True
    profile = image.info.get("icc_profile") or b""
    colours = image.mode in ("RGB", "RGBA", "P")
    return colours and len(profile) >= 132 and _has_tag(profile, b"A2B")


def _has_tag(profile: bytes, prefix: bytes) -> bool:
    (tags,) = struct.unpack_from(">I", profile, 128)
    table = profile[132 : 132 + 12 * tags]
    return any(table[at : at + 3] == prefix for at in range(0, len(table), 12))


def _fill_transparent(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    # The network smears colours across edges, so hidden ones would show. Use the mean visible one.
    counts = np.reshape(rgb.histogram(alpha), (3, 256))  # of visible pixels
    visible = counts[0].sum()
    fill = counts @ np.arange(256) // visible if visible else [255] * 3
    # A 1-bit mask: pasting through an 8-bit mask blends, which takes seven times as long.
    rgb.paste(tuple(map(int, fill)), (0, 0), alpha.point([255] + [0] * 255, "1"))
    return rgb
