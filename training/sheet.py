"""Paint photos in every style of a model folder and write one sheet with all pictures.

python -m training.sheet models/gallery [PHOTO ...] -o OUT [--side 384] [--painted 768]
    [--styles ID ...]

A row for each photo: the photo and then the styles. Without photos, it uses scikit-image's
astronaut, coffee and cat.
"""

import argparse
import sys
from pathlib import Path

from training.cli.arguments import command_parser
from training.cli.run import run
from training.fit.data import read_image
from training.scoring.samples import sample_photos
from training.scoring.style_sheet import style_sheet


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 when the sheet is written, 1 on an error."""
    parser = command_parser("sheet", __doc__)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("-o", "--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--side", type=int, default=384, help="of each picture, in pixels")
    parser.add_argument("--painted", type=int, help="side to paint at (default: --side)")
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these styles")
    options = parser.parse_intermixed_args(arguments)
    return run(lambda: _sheet(options))


def _sheet(options: argparse.Namespace) -> str:
    photos = [read_image(path) for path in options.photos] or sample_photos()
    sheet = style_sheet(options.folder, photos, options.side, options.styles, options.painted)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=88)
    return f"{options.out}: {len(photos)} photos"


if __name__ == "__main__":
    sys.exit(main())
