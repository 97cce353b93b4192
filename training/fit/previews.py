"""Preview sheets: a few photos in every style, written during a fit."""

import itertools
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from training.fit.data import DataError, load_image
from training.fit.networks.styled import StyledNetwork

SHEET_PHOTOS = 3


@torch.no_grad()
def preview_sheet(model: StyledNetwork, photos: list[Tensor]) -> Image.Image:
    """Paint photos [1, 3, side, side]: a row for each photo, the photo and then every style.

    If the styles have bold vectors, a second row shows those.
    """
    device = model.styles.device
    rows = []
    for photo, boldness in itertools.product(photos, (0, 1) if model.bold is not None else (0,)):
        index = torch.arange(len(model.styles), device=device)
        painted = [model.paint(photo.to(device), i[None], boldness).cpu() for i in index]
        rows.append(torch.cat([photo, *painted], dim=3))
    sheet = torch.cat(rows, dim=2)[0].permute(1, 2, 0)
    return Image.fromarray((sheet * 255).round().byte().numpy())


def sheet_crops(photos: list[Path], side: int = 256) -> list[Tensor]:
    """Return the central squares of a few photos from all over the list.

    Each is float32 [1, 3, side, side] in [0, 1]. Unreadable photos are skipped. Raises DataError if
    every photo is unreadable.
    """
    stride = max(1, len(photos) // SHEET_PHOTOS)
    crops: list[Tensor] = []
    unreadable: list[str] = []
    for photo in (p for first in range(stride) for p in photos[first::stride]):
        try:
            image = load_image(photo, side)
        except DataError as error:
            unreadable.append(str(error))
            continue
        top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
        crops.append(image[..., top : top + side, left : left + side])
        if len(crops) == SHEET_PHOTOS:
            break
    if not crops:
        raise DataError(f"none of the {len(photos)} photos can be read; {unreadable[-1]}")
    return crops
