"""One photo painted in many ways: blends of four styles, sizes, strengths. And textures."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from app.errors import PasticheError
from app.library import Pastiche

STEPS = 5  # of blends and strengths
CORNERS = 4
TEXTURE = 512  # pixels; side of a texture
ACROSS = 5  # textures in a row
SIZES = (384, 768, 1536)  # longest side in pixels at which the network paints

Kind = Literal["blends", "sizes", "strengths", "textures"]
Rows = list[list[Image.Image]]


def blends(pastiche: Pastiche, photo: Image.Image, styles: list[str]) -> Rows:
    """Paint STEPS x STEPS bilinear blends of four styles, one in each corner.

    Raises PasticheError if there are not four styles or one is unknown.
    """
    if len(styles) != CORNERS:
        raise PasticheError(f"blends takes {CORNERS} styles, one for each corner")
    ramp = np.linspace(0, 1, STEPS)
    return [[pastiche.stylize(photo, _blend(styles, x, y)) for x in ramp] for y in ramp]


def sizes(pastiche: Pastiche, photo: Image.Image, styles: list[str]) -> Rows:
    """Paint a row for each style, at each of SIZES. Small sizes give broad strokes."""
    return [[pastiche.stylize(photo, style, size=size) for size in SIZES] for style in styles]


def strengths(pastiche: Pastiche, photo: Image.Image, styles: list[str]) -> Rows:
    """Paint a row for each style, with strength from 0 to its maximum in STEPS."""
    rows = []
    for style in styles:
        maximum = 1 if pastiche.styles[style].bold is None else 2
        ramp = np.linspace(0, maximum, STEPS)
        rows.append([pastiche.stylize(photo, style, strength=float(s)) for s in ramp])
    return rows


def textures(pastiche: Pastiche, photo: Image.Image, styles: list[str]) -> Rows:
    """Make the texture of seed 0 of each style, ACROSS in a row; the photo is not used.

    Raises PasticheError if the textures do not fill whole rows.
    """
    if len(styles) % min(ACROSS, len(styles)):
        raise PasticheError(f"textures takes at most {ACROSS} styles, or a multiple of {ACROSS}")
    made = [pastiche.generate(style, TEXTURE, TEXTURE, seed=0) for style in styles]
    return [made[start : start + ACROSS] for start in range(0, len(made), ACROSS)]


VARIATIONS: dict[Kind, Callable[[Pastiche, Image.Image, list[str]], Rows]] = {
    "blends": blends,
    "sizes": sizes,
    "strengths": strengths,
    "textures": textures,
}


def grid(rows: Rows, side: int) -> Image.Image:
    """Lay out rows of RGB pictures of one shape without gaps, each at most `side` pixels."""
    small = [
        [ImageOps.contain(picture.convert("RGB"), (side, side)) for picture in r] for r in rows
    ]
    width, height = small[0][0].size
    sheet = Image.new("RGB", (width * len(small[0]), height * len(small)))
    for y, row in enumerate(small):
        for x, picture in enumerate(row):
            sheet.paste(picture, (x * width, y * height))
    return sheet


def _blend(styles: list[str], x: float, y: float) -> str:
    weights = ((1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x)
    return ",".join(f"{style}:{weight:.4f}" for style, weight in zip(styles, weights, strict=True))
