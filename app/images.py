"""Images in and out: bytes to upright sRGB pixels and back.

The one seam to Pillow: whatever it raises on a caller's bytes becomes an error of ours.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from app.errors import (
    BadOption,
    BrokenImage,
    ImageTooLarge,
    ImageTooSmall,
    PasticheError,
    UnsupportedImage,
)

Format = Literal["jpeg", "png", "webp"]
Pixels = NDArray[np.uint8]

FORMATS: tuple[Format, ...] = ("jpeg", "png", "webp")
MEDIA_TYPES: dict[Format, str] = {f: f"image/{f}" for f in FORMATS}
SUFFIXES: dict[str, Format] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
MIN_SIDE = 16  # pixels; what the graphs take
MAX_SIDES: dict[Format, int] = {"jpeg": 65_500, "png": 2**31 - 1, "webp": 16_383}  # to encode
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP")  # "JPEG" opens MPO too: further pictures behind it
_SRGB = ImageCms.createProfile("sRGB")
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
class Header:
    """What is known of an image before it is decoded; width and height as stored, in pixels."""

    format: Format
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """width x height."""
        return self.width * self.height


@dataclass(frozen=True)
class Picture:
    """Decoded pixels: rgb uint8 [H, W, 3] in sRGB, upright; alpha uint8 [H, W] where there is one.

    The colour of wholly transparent pixels is not the sender's.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    format: Format = "png"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


def read_header(content: bytes, max_pixels: int) -> Header:
    """Read format and dimensions without decoding, and check them.

    Raises UnsupportedImage, BrokenImage, ImageTooSmall, ImageTooLarge.
    """
    return _checked(content, max_pixels)[1]


def _checked(content: bytes, max_pixels: int) -> tuple[Image.Image, Header]:
    image = _open(content)
    header = _header(image)
    if min(image.size) < MIN_SIDE:
        raise ImageTooSmall(
            f"the image is {header.width}x{header.height} pixels; "
            f"each side must have at least {MIN_SIDE}"
        )
    if header.pixels > max_pixels:
        raise ImageTooLarge(
            f"the image is {header.width}x{header.height} pixels, {header.pixels:,} in all; "
            f"at most {max_pixels:,} are allowed"
        )
    if header.format != "jpeg" and getattr(image, "n_frames", 1) > 1:
        raise UnsupportedImage("the image is an animation; send a single picture")
    return image, header


def decode(content: bytes, max_pixels: int) -> Picture:
    """Decode a JPEG, PNG or WebP: upright, ICC profile converted to sRGB, alpha apart.

    Raises what read_header raises, and BrokenImage if the pixels cannot be decoded.
    """
    image, header = _checked(content, max_pixels)
    try:
        image.load()
        return from_pillow(image, header.format)
    except PasticheError:
        raise
    except Exception as error:
        # Decoders fail on hostile bytes with nearly every type there is.
        raise BrokenImage(f"the {header.format} image cannot be decoded: it is damaged") from error


def from_pillow(image: Image.Image, format: Format = "png") -> Picture:
    """The pixels of any Pillow image, upright, in sRGB."""
    image = _upright(image)
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion would clip them
        profile = image.info.get("icc_profile")
        grey = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((grey.clip(0, 65535) + 128) // 257).astype(np.uint8))
        image.info["icc_profile"] = profile
    has_alpha = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if image.mode == "P" or has_alpha:
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        # Grey stays grey until its profile is applied.
        opaque = image.convert("L") if image.mode in ("L", "LA") else rgba.convert("RGB")
        rgb = np.asarray(_to_srgb(opaque))
        if alpha.min() < 255:
            return Picture(_hide(rgb, alpha), alpha, format)
        return Picture(rgb, None, format)
    return Picture(np.asarray(_to_srgb(image)), None, format)


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


def _open(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_PILLOW_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge("the image has far more pixels than are allowed") from error
    except UnidentifiedImageError as error:
        raise UnsupportedImage(
            f"the content is not an image of an allowed format ({', '.join(FORMATS)})"
        ) from error
    except Exception as error:
        raise BrokenImage("the image cannot be read: its header is damaged") from error


def _header(image: Image.Image) -> Header:
    name = (image.format or "").lower()
    format: Format = "jpeg" if name in ("jpeg", "mpo") else "png" if name == "png" else "webp"
    return Header(format, image.width, image.height)


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose writes all of the EXIF anew, and so fails where any of it is odd.
    try:
        undo = _UNDO.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return image  # broken EXIF: as if none
    return image if undo is None else image.transpose(undo)


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # a broken profile, or one of another colour space: as if none
    return converted if converted is not None else image.convert("RGB")


def _hide(rgb: Pixels, alpha: Pixels) -> Pixels:
    # The network must not see, nor smear, what transparency hides: the mean visible colour does.
    visible = alpha > 0
    fill = rgb[visible].mean(axis=0) if visible.any() else np.full(3, 255.0)
    return np.where(visible[..., None], rgb, fill.astype(np.uint8))
