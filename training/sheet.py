"""A contact sheet: photos down, the photo itself and every style of a model folder across.

python -m training.sheet models/gallery [PHOTO ...] -o OUT [--side 384] [--styles ID ...]

Without photos, scikit-image's astronaut, coffee and cat.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage import data

from app.card import read_folder
from app.device import CPU, Device
from app.errors import ModelFolderError
from app.model import Network
from app.settings import Settings
from training.data import DataError, read_image


def contact_sheet(
    folder: Path, photos: list[Image.Image], side: int, styles: list[str] | None = None
) -> Image.Image:
    """Paint the middle squares of RGB photos, `side` pixels each; raises ModelFolderError."""
    device = Device("cpu", CPU, "float32")
    network = Network(read_folder(folder), device, Settings.model_fields["tile_pixels"].default)
    if missing := set(styles or ()) - network.styles.keys():
        raise ModelFolderError(f"{folder} has no style {', '.join(sorted(missing))}")
    vectors = np.stack([network.styles[s].vector for s in styles or network.styles])
    rows = []
    for photo in photos:
        square = np.asarray(ImageOps.fit(photo, (side, side), Image.Resampling.LANCZOS))
        painted = [network.paint(square[None], vector[None])[0] for vector in vectors]
        rows.append(np.concatenate([square, *painted], axis=1))
    return Image.fromarray(np.concatenate(rows))


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the sheet is written, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.sheet", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=384, help="of each picture, pixels")
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these")
    options = parser.parse_intermixed_args(arguments)
    try:
        samples = (data.astronaut(), data.coffee(), data.chelsea())
        photos = [read_image(p) for p in options.photos] or [Image.fromarray(s) for s in samples]
        sheet = contact_sheet(options.folder, photos, options.side, options.styles)
    except (DataError, ModelFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
