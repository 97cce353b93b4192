"""One photograph, varied: blends of four styles, stroke sizes, strengths.

python -m training.variations blends A B C D -o OUT [--photo PHOTO]
python -m training.variations sizes STYLE ... -o OUT [--photo PHOTO]
python -m training.variations strengths STYLE ... -o OUT [--photo PHOTO]

Painted as the library paints. Without a photo, scikit-image's astronaut.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from app.errors import PasticheError
from app.library import Stylizer
from app.settings import BUNDLED_MODELS
from training.fit.data import DataError, read_image
from training.sheet import samples

STEPS = 5  # of blends and strengths
CORNERS = 4
SIZES = (384, 768, 1536)  # longest side in pixels at which the network paints

Rows = list[list[Image.Image]]


def blends(stylizer: Stylizer, photo: Image.Image, styles: list[str]) -> Rows:
    """STEPS x STEPS pictures between four styles, one in each corner, weighted bilinearly.

    Raises UnknownStyle, BadOption.
    """
    if len(styles) != CORNERS:
        raise PasticheError(f"blends takes {CORNERS} styles, one for each corner")
    ramp = np.linspace(0, 1, STEPS)
    return [
        [
            stylizer.stylize(
                photo,
                ",".join(
                    f"{style}:{weight:.4f}"
                    for style, weight in zip(
                        styles, ((1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x), strict=True
                    )
                ),
            )
            for x in ramp
        ]
        for y in ramp
    ]


def sizes(stylizer: Stylizer, photo: Image.Image, styles: list[str]) -> Rows:
    """A row for each style: the photo painted at SIZES, broad strokes first."""
    return [[stylizer.stylize(photo, style, size=size) for size in SIZES] for style in styles]


def strengths(stylizer: Stylizer, photo: Image.Image, styles: list[str]) -> Rows:
    """A row for each style: strength 0 to 1 in STEPS."""
    ramp = np.linspace(0, 1, STEPS)
    return [[stylizer.stylize(photo, style, strength=float(s)) for s in ramp] for style in styles]


def sheet(rows: Rows, side: int) -> Image.Image:
    """Rows of RGB pictures of one shape, each reduced to at most `side` pixels, edge to edge."""
    small = [
        [ImageOps.contain(picture.convert("RGB"), (side, side)) for picture in r] for r in rows
    ]
    width, height = small[0][0].size
    whole = Image.new("RGB", (width * len(small[0]), height * len(small)))
    for y, row in enumerate(small):
        for x, picture in enumerate(row):
            whole.paste(picture, (x * width, y * height))
    return whole


KINDS: dict[str, Callable[[Stylizer, Image.Image, list[str]], Rows]] = {
    "blends": blends,
    "sizes": sizes,
    "strengths": strengths,
}


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the sheet is written, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.variations", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("styles", nargs="+", metavar="STYLE")
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--models", type=Path, default=BUNDLED_MODELS)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256, help="of each picture, pixels")
    options = parser.parse_args(arguments)
    try:
        photo = read_image(options.photo) if options.photo else samples()[0]
        rows = KINDS[options.kind](Stylizer(options.models), photo, options.styles)
    except (DataError, PasticheError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows, options.side).save(options.out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
