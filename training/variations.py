"""Paint one photo in many ways, or make textures, and write one sheet.

python -m training.variations blends A B C D -o OUT [--photo PHOTO]
python -m training.variations sizes STYLE ... -o OUT [--photo PHOTO]
python -m training.variations strengths STYLE ... -o OUT [--photo PHOTO]
python -m training.variations textures STYLE ... -o OUT

It paints with the library. Without a photo, it uses scikit-image's astronaut.
"""

import argparse
import sys
from pathlib import Path

from app.library import Pastiche
from app.settings import BUNDLED_MODELS
from training.cli.arguments import command_parser
from training.cli.run import run
from training.fit.data import read_image
from training.scoring.samples import sample_photos
from training.scoring.variations import VARIATIONS, grid


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the sheet is written, 1 on an error."""
    parser = command_parser("variations", __doc__)
    parser.add_argument("kind", choices=VARIATIONS)
    parser.add_argument("styles", nargs="+", metavar="STYLE")
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--models", type=Path, default=BUNDLED_MODELS, help="folder of networks")
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--side", type=int, default=256, help="of each picture, in pixels")
    options = parser.parse_args(arguments)
    return run(lambda: _variations(options))


def _variations(options: argparse.Namespace) -> str:
    photo = read_image(options.photo) if options.photo else sample_photos()[0]
    pastiche = Pastiche(options.models)
    rows = VARIATIONS[options.kind](pastiche, photo, options.styles)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    grid(rows, options.side).save(options.out, quality=88)
    return f"{options.out}: {options.kind} of {', '.join(options.styles)}"


if __name__ == "__main__":
    sys.exit(main())
