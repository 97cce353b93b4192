"""Images in and out: bytes to upright sRGB pixels and back.

The one seam to Pillow: whatever it raises on a caller's bytes becomes an error of ours.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import BadOption, BrokenImage, ImageTooLarge, ImageTooSmall
from .container import FORMATS as FORMATS
from .container import Format as Format
from .container import Still, walk

Pixels = NDArray[np.uint8]

MEDIA_TYPES: dict[Format, str] = {f: f"image/{f}" for f in FORMATS}
SUFFIXES: dict[str, Format] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
MIN_SIDE = 16  # pixels; what the graphs take
MAX_SIDES: dict[Format, int] = {"jpeg": 65_500, "png": 2**31 - 1, "webp": 16_383}  # to encode
# By name, past Image.open: it would try other formats, and has a bound of its own on pixels.
_READERS: dict[Format, type[ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
}
_SRGB = ImageCms.createProfile("sRGB")
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # between two shades in 8 bits, by Pillow's raw mode
_UNDO = {  # of each EXIF orientation
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
    """Decoded pixels: rgb uint8 [H, W, 3] in sRGB, upright; alpha uint8 [H, W] where there is one.

    The colour of wholly transparent pixels is not the sender's. `full_size` is the picture's
    (width, height) where rgb was decoded smaller, see read_pixels.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    format: Format = "png"
    full_size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        return self.full_size or (self.rgb.shape[1], self.rgb.shape[0])


def read_header(content: bytes, max_pixels: int) -> Still:
    """Walk the file without decoding, and check its dimensions.

    Raises UnsupportedImage, AnimatedImage, BrokenImage, ImageTooSmall, ImageTooLarge.
    """
    still = walk(content)
    if min(still.width, still.height) < MIN_SIDE:
        raise ImageTooSmall(
            f"the image is {still.width}x{still.height} pixels; "
            f"each side must have at least {MIN_SIDE}"
        )
    if still.pixels > max_pixels:
        raise ImageTooLarge(
            f"the image is {still.width}x{still.height} pixels, "
            f"{still.pixels:,} in all; at most {max_pixels:,} are allowed"
        )
    return still


def decode(content: bytes, max_pixels: int) -> Picture:
    """Decode a JPEG, PNG or WebP at its full size.

    Raises what read_header and read_pixels raise.
    """
    return read_pixels(read_header(content, max_pixels))


def read_pixels(still: Still, within: tuple[int, int] | None = None) -> Picture:
    """Decode what read_header has checked: upright, ICC profile converted to sRGB, alpha apart.

    within: the (width, height) at which rgb is needed; None is the picture's own. Where colours are
    slow to convert (CMYK, profiles with lookup tables) and this is smaller, rgb is shrunk to it
    first. Alpha always has the picture's size. Raises BrokenImage if the pixels cannot be decoded,
    ImageTooLarge.
    """
    try:
        image = _opened(still)
        if image.size == (still.width, still.height):  # else Pillow read another header than we
            if within is not None and isinstance(image, JpegImageFile) and _is_slow(image):
                # A JPEG can be decoded at a half, a quarter or an eighth of its size.
                image.draft(None, within if still.size == image.size else within[::-1])
            return _picture(_turned(_loaded(image, still), still.orientation), still, within)
    except Image.DecompressionBombError as error:  # Pillow's own bound, which its WebP reader has
        raise ImageTooLarge("the webp image has more pixels than can be decoded") from error
    except Exception as error:
        # Decoders fail on hostile bytes with nearly every type there is.
        raise BrokenImage(f"the {still.format} image cannot be decoded: it is damaged") from error
    raise BrokenImage(f"the {still.format} image states two sizes")


def from_pillow(image: Image.Image, format: Format = "png") -> Picture:
    """The pixels of any Pillow image, upright, in sRGB."""
    opaque, alpha = _split(_eight_bits(_upright(image)))
    rgb = _to_srgb(opaque)
    if alpha is None:
        return Picture(np.asarray(rgb), None, format)
    return Picture(np.asarray(_hide(rgb, alpha)), np.asarray(alpha), format)


def _opened(still: Still) -> ImageFile:
    image = _READERS[still.format](io.BytesIO(still.content))
    if still.profile is not None:
        image.info["icc_profile"] = still.profile
    return image


def _loaded(image: ImageFile, still: Still) -> Image.Image:
    # Pillow compares the transparent colour of a PNG with pixels that it has already brought to
    # 8 bits, and reads 16 bits of grey and alpha as RGBA.
    raw = image.tile[0].args if still.format == "png" else None
    key = image.info.get("transparency")
    image.load()
    if raw == "LA;16B":
        return image.convert("LA")
    if raw in _GREY_STEPS and key is not None:
        image.info["transparency"] = key * _GREY_STEPS[raw]
    elif raw == "RGB;16B" and key is not None:
        del image.info["transparency"]
        low = _opened(still)  # read as little-endian, the byte that is kept is the lower one
        low.tile = [low.tile[0]._replace(args="RGB;16L")]
        shown = np.zeros(image.size[::-1], bool)
        for channel, value in enumerate(key):
            shown |= np.asarray(image.getchannel(channel)) != value >> 8
            shown |= np.asarray(low.getchannel(channel)) != value & 255
        image.putalpha(Image.fromarray(shown.astype(np.uint8) * 255))
    return image


def _picture(image: Image.Image, still: Still, within: tuple[int, int] | None) -> Picture:
    if within is None or within[0] * within[1] >= still.pixels or not _is_slow(image):
        return from_pillow(image, still.format)
    opaque, alpha = _split(image)
    if alpha is not None:
        opaque = _hide(opaque, alpha)
    small = opaque.resize(within, Image.Resampling.LANCZOS, reducing_gap=3)
    rgb = np.asarray(_to_srgb(small))
    return Picture(rgb, None if alpha is None else np.asarray(alpha), still.format, still.size)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours, with the profile that came with them, and alpha; None where all is opaque."""
    has_alpha = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if image.mode != "P" and not has_alpha:
        return image, None
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    # Grey stays grey until its profile is applied.
    opaque = image.convert("L") if image.mode in ("L", "LA") else rgba.convert("RGB")
    return opaque, None if alpha.getextrema()[0] == 255 else alpha


def to_pillow(picture: Picture) -> Image.Image:
    """An RGB image, or RGBA where there is alpha, with the colour of hidden pixels zeroed."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
        hidden = np.asarray(image) * (picture.alpha > 0)[..., None].astype(np.uint8)
        image = Image.fromarray(hidden)
    return image


def check_format(format: Format, width: int, height: int) -> None:
    """Raise BadOption if this format cannot hold a picture of this size."""
    if max(width, height) > MAX_SIDES[format]:
        raise BadOption(
            f"format: {format} takes at most {MAX_SIDES[format]:,} pixels a side, "
            f"the image is {width}x{height}"
        )


def encode(picture: Picture, format: Format, quality: int = 90) -> bytes:
    """Encode without metadata; quality 1..100 is for JPEG and WebP; JPEG shows alpha on white.

    Raises BadOption if the format cannot hold a picture of this size.
    """
    check_format(format, *picture.size)
    image = to_pillow(picture)
    out = io.BytesIO()
    if format == "jpeg":
        if image.mode == "RGBA":
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        image.save(out, "JPEG", quality=quality, subsampling="4:4:4")
    elif format == "webp":
        image.save(out, "WEBP", quality=quality, method=2)
    else:
        # Brush strokes hardly compress: the higher levels would cost time for little.
        image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def resize(rgb: Pixels, size: tuple[int, int]) -> Pixels:
    """Resample rgb uint8 [H, W, 3] to (width, height)."""
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose writes all of the EXIF anew, and so fails where any of it is odd.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return image  # broken EXIF: as if none
    return _turned(image, orientation)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    undo = _UNDO.get(orientation)
    return image if undo is None else image.transpose(undo)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey in 8, which Pillow's own conversion would clip; any other image as it is."""
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.uint32)
    scaled = Image.fromarray(((grey.clip(0, 65535) + 128) // 257).astype(np.uint8))
    if (hidden := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(np.where(grey == hidden, 0, 255).astype(np.uint8)))
    scaled.info["icc_profile"] = image.info.get("icc_profile")
    return scaled


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L") and _is_plain(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile, or one of another colour space: as if none
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_plain(profile: bytes) -> bool:
    # D2B tags hold chains of operations of any length, to be run for each point of a large grid.
    return len(profile) >= 132 and not _has_tag(profile, b"D2B")


def _is_slow(image: Image.Image) -> bool:
    """Whether its colours are converted by tables of many dimensions."""
    if image.mode == "CMYK":
        return True
    profile = image.info.get("icc_profile") or b""
    colours = image.mode in ("RGB", "RGBA", "P")
    return colours and len(profile) >= 132 and _has_tag(profile, b"A2B")


def _has_tag(profile: bytes, start: bytes) -> bool:
    (tags,) = struct.unpack_from(">I", profile, 128)
    table = profile[132 : 132 + 12 * tags]
    return any(table[at : at + 3] == start for at in range(0, len(table), 12))


def _hide(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    # The network must not see, nor smear, what transparency hides: the mean visible colour does.
    counts = np.reshape(rgb.histogram(alpha), (3, 256))  # of visible pixels
    visible = counts[0].sum()
    fill = counts @ np.arange(256) // visible if visible else [255] * 3
    # A mask of one bit: pasting through one of eight blends, at seven times the cost.
    rgb.paste(tuple(map(int, fill)), (0, 0), alpha.point([255] + [0] * 255, "1"))
    return rgb
