"""From a picture to the network's canvas, and from the painted canvas to the finished picture."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import BadOption
from .images import MIN_SIDE, Picture, Pixels, resize

# Strokes have a size in pixels: painted at its own size, a picture from a modern camera looks like
# a photograph with a texture on it, not like a painting.
LARGEST_UNASKED = 1600


@dataclass(frozen=True)
class Finish:
    """How a picture is painted, apart from the style."""

    strength: float = 1.0  # 0 leaves the photograph, 1 is all paint
    size: int | None = None  # longest side of the canvas in pixels; None: see canvas_size
    preserve_colors: bool = False

    @property
    def shows_photo(self) -> bool:
        """Whether anything of the photograph itself is in the answer, apart from its alpha."""
        return self.strength < 1 or self.preserve_colors


def canvas_size(width: int, height: int, size: int | None) -> tuple[int, int]:
    """(width, height) at which a width x height picture is painted; no side below MIN_SIDE.

    size: the longest side; None is the picture's own size, at most LARGEST_UNASKED.
    """
    if size is None:
        size = min(max(width, height), LARGEST_UNASKED)
    scale = size / max(width, height)
    return max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))


def check_canvas(width: int, height: int, max_pixels: int) -> None:
    """Raise BadOption if a canvas of this size has more pixels than are allowed."""
    if width * height > max_pixels:
        raise BadOption(
            f"size: the image would be painted at {width}x{height}; "
            f"at most {max_pixels:,} pixels are allowed"
        )


def canvas(picture: Picture, finish: Finish) -> Pixels:
    """The pixels that the network gets, uint8 [h, w, 3]."""
    return resize(picture.rgb, canvas_size(*picture.size, finish.size))


def finished(picture: Picture, painted: Pixels, finish: Finish) -> Picture:
    """The answer: painted uint8 [h, w, 3] at the picture's size, with its alpha."""
    rgb = resize(painted, picture.size)
    if finish.preserve_colors:
        rgb = _with_colors_of(picture.rgb, rgb)
    if finish.strength < 1:
        mixed = Image.blend(Image.fromarray(picture.rgb), Image.fromarray(rgb), finish.strength)
        rgb = np.asarray(mixed)
    return Picture(rgb, picture.alpha, picture.format)


def _with_colors_of(photo: Pixels, painted: Pixels) -> Pixels:
    # Luminance of the paint, chrominance of the photograph (Gatys et al., arXiv:1606.05897).
    luminance = Image.fromarray(painted).convert("YCbCr").getchannel(0)
    _, blue, red = Image.fromarray(photo).convert("YCbCr").split()
    return np.asarray(Image.merge("YCbCr", (luminance, blue, red)).convert("RGB"))
