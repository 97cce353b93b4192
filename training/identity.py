"""Show why strength mixes pixels rather than style vectors.

python -m training.identity models/gallery STYLE ... --photos DIR -o OUT [--photo PHOTO]

Fits an identity vector, with which the network reproduces its input as well as it can, and writes
a sheet with two rows for each style: the photo mixed with the painted picture, and the photo
painted with vectors between identity and style.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from app.model_folder import read_folder
from training.cli.arguments import at_least, command_parser
from training.cli.run import run
from training.fit.data import read_image, to_tensor
from training.fit.identity import compare_strengths
from training.scoring.samples import sample_photos


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the sheet is written, 1 on an error."""
    parser = command_parser("identity", __doc__)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("styles", nargs="+", metavar="STYLE")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos to fit on")
    parser.add_argument("--photo", type=Path, help="photo to paint (default: an astronaut)")
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--steps", type=at_least(1), default=150)
    parser.add_argument("--side", type=at_least(16), default=256, help="of each picture, in pixels")
    options = parser.parse_args(arguments)
    return run(lambda: _identity(options))


def _identity(options: argparse.Namespace) -> str:
    folder = read_folder(options.folder)
    photo = read_image(options.photo) if options.photo else sample_photos()[0]
    square = to_tensor(ImageOps.fit(photo, (options.side, options.side)))
    found = compare_strengths(folder, options.styles, square, options.photos, options.steps)
    pixels = np.asarray(found.sheet.permute(1, 2, 0).mul(255).round().byte())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(options.out, quality=88)
    decibels = -10 * math.log10(max(found.error, 1e-10))
    return f"{options.out}; the identity vector reproduces the photo at {decibels:.1f} dB"


if __name__ == "__main__":
    sys.exit(main())
