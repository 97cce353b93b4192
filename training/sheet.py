"""A contact sheet: photos down, the photo itself and every style of a model folder across.

python -m training.sheet models/gallery [PHOTO ...] -o OUT [--side 384] [--painted 768]
    [--styles ID ...]

Without photos, scikit-image's astronaut, coffee and cat.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from app.engine.device import CPU, Device
from app.engine.network import Network
from app.errors import ModelFolderError
from app.model_folder import read_folder
from training.fit.data import DataError, read_image


def contact_sheet(
    folder: Path,
    photos: list[Image.Image],
    side: int,
    styles: list[str] | None = None,
    painted: int | None = None,
) -> Image.Image:
    """The middle squares of RGB photos, painted at `painted` pixels (`side`), shown at `side`.

    Raises ModelFolderError.
    """
    device = Device("cpu", CPU, "float32")
    network = Network(read_folder(folder), device)
    known = network.folder.styles
    if missing := set(styles or ()) - known.keys():
        raise ModelFolderError(f"{folder} has no style {', '.join(sorted(missing))}")
    vectors = np.stack([known[s].vector for s in styles or known])
    size = painted or side
    rows = []
    for photo in photos:
        square = np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.LANCZOS))
        pictures = [network.paint(square[None], vector[None])[0] for vector in vectors]
        rows.append(np.concatenate([square, *pictures], axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    shown = (sheet.width // size * side, sheet.height // size * side)
    return sheet.resize(shown, Image.Resampling.LANCZOS)


def samples() -> list[Image.Image]:
    """Three photographs that come with scikit-image, which nothing else here needs."""
    from skimage import data

    return [Image.fromarray(s) for s in (data.astronaut(), data.coffee(), data.chelsea())]


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the sheet is written, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.sheet", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=384, help="of each picture, pixels")
    parser.add_argument("--painted", type=int, help="at this side, and then shrunk (--side)")
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these")
    options = parser.parse_intermixed_args(arguments)
    try:
        photos = [read_image(p) for p in options.photos] or samples()
        sheet = contact_sheet(options.folder, photos, options.side, options.styles, options.painted)
    except (DataError, ModelFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
