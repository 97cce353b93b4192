"""From a picture to the network's canvas, and from the painted canvas to the result."""

from dataclasses import dataclass

import numpy as np

from ..errors import BadOption
from .images import PIXELS_SETTING, Picture, Pixels, blend, resize, with_colors_of

# Strokes have a fixed size in pixels. At the full size of a modern camera's photograph they are so
# small that the result looks like a photograph with a texture.
DEFAULT_MAX_SIDE = 1600  # pixels; at most
MIN_SIDE = 16  # pixels; what the graphs take


@dataclass(frozen=True)
class Finish:
    """How to paint a picture, apart from the style."""

    strength: float = 1.0  # below 1 mixes the photograph in; above 1 is up to the style vector
    size: int | None = None  # longest side of the canvas in pixels; for None see canvas_size
    preserve_colors: bool = False

    @property
    def shows_photo(self) -> bool:
        """Whether the result depends on the photograph's full-size colours."""
        return self.strength < 1 or self.preserve_colors


def drawn_size(width: int, height: int, size: int | None) -> tuple[int, int]:
    """(width, height) at which a width x height picture is drawn on its canvas.

    size: the longest side; None is the picture's own size, at most DEFAULT_MAX_SIDE.
    """
    if size is None:
        size = min(max(width, height), DEFAULT_MAX_SIDE)
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def canvas_size(width: int, height: int, size: int | None) -> tuple[int, int]:
    """(width, height) of the canvas: that of drawn_size, but no side is below MIN_SIDE."""
    drawn = drawn_size(width, height, size)
    return max(MIN_SIDE, drawn[0]), max(MIN_SIDE, drawn[1])


def check_canvas(width: int, height: int, max_pixels: int, frames: int = 1) -> None:
    """Raise BadOption if so many canvases of this size have more than max_pixels."""
    if frames * width * height > max_pixels:
        raise BadOption(
            f"size: {'the image' if frames == 1 else f'each of {frames} frames'} would be painted "
            f"at {width}x{height}; "
            f"at most {max_pixels:,} pixels are allowed ({PIXELS_SETTING})"
        )


def canvas(picture: Picture, finish: Finish) -> Pixels:
    """The network's input, uint8 [h, w, 3]: the picture, its edges mirrored if it is too small."""
    drawn = resize(picture.rgb, drawn_size(*picture.size, finish.size))
    height, width, _ = drawn.shape
    missing = [(0, max(0, MIN_SIDE - height)), (0, max(0, MIN_SIDE - width)), (0, 0)]
    return np.pad(drawn, missing, "symmetric") if min(height, width) < MIN_SIDE else drawn


def finished(picture: Picture, painted: Pixels, finish: Finish) -> Picture:
    """The result, in the picture's size, with its alpha. painted: the canvas, uint8 [h, w, 3]."""
    width, height = drawn_size(*picture.size, finish.size)
    rgb = resize(painted[:height, :width], picture.size)
    if finish.preserve_colors:
        rgb = with_colors_of(picture.rgb, rgb)
    if finish.strength < 1:
        rgb = blend(picture.rgb, rgb, finish.strength)
    return Picture(rgb, picture.alpha, picture.format)
