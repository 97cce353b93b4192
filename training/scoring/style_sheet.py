"""A style sheet: a row for each photo, with the photo and then every style of a model folder."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from app.engine.devices.device import CPU, Device
from app.engine.network import Network
from app.errors import ModelFolderError
from app.model_folder import read_folder


def style_sheet(
    folder: Path,
    photos: list[Image.Image],
    side: int,
    styles: list[str] | None = None,
    painted: int | None = None,
) -> Image.Image:
    """Crop RGB photos to their central squares, paint them and lay everything out in a grid.

    side: of each cell, in pixels. styles: ids; default: all. painted: side at which the network
    paints, before the picture is resized to `side`; default: `side`. Raises ModelFolderError.
    """
    network = Network(read_folder(folder), Device("cpu", CPU, "float32"))
    known = network.folder.styles
    if missing := set(styles or ()) - known.keys():
        raise ModelFolderError(f"{folder} has no style {', '.join(sorted(missing))}")
    vectors = np.stack([known[style].vector for style in styles or known])
    size = painted or side
    rows = []
    for photo in photos:
        square = np.asarray(ImageOps.fit(photo, (size, size), Image.Resampling.LANCZOS))
        pictures = [network.paint(square[None], vector[None])[0] for vector in vectors]
        rows.append(np.concatenate([square, *pictures], axis=1))
    sheet = Image.fromarray(np.concatenate(rows))
    shown = (sheet.width // size * side, sheet.height // size * side)
    return sheet.resize(shown, Image.Resampling.LANCZOS)
