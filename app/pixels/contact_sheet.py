"""Pictures with captions, side by side."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .images import Picture, Pixels, resize

CAPTION, GAP = 22, 8  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)


def thumbnail(rgb: Pixels, side: int) -> Pixels:
    """Shrink rgb uint8 [H, W, 3] so that its longest side has at most `side` pixels."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    return resize(rgb, (max(1, round(width * scale)), max(1, round(height * scale))))


def contact_sheet(pictures: Sequence[tuple[str, Pixels]]) -> Picture:
    """Set pictures, uint8 [H, W, 3] of any sizes, in rows of equal cells, captions below them."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width = max(pixels.shape[1] for _, pixels in pictures)
    height = max(pixels.shape[0] for _, pixels in pictures)
    across, down = width + GAP, height + CAPTION + GAP
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(CAPTION * 0.6)
    for number, (caption, pixels) in enumerate(pictures):
        left, top = GAP + number % columns * across, GAP + number // columns * down
        sheet.paste(Image.fromarray(pixels), (left, top))
        draw.text((left, top + pixels.shape[0] + 3), caption.replace("_", " "), INK, font)
    return Picture(np.asarray(sheet), format="jpeg")
