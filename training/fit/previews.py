"""Preview sheets: every style on the same few photos, written while a fit goes on."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from training.fit.data import DataError, load_image
from training.fit.network import Gallery

SHEET_PHOTOS = 3


@torch.no_grad()
def preview_sheet(gallery: Gallery, photos: list[Tensor]) -> Image.Image:
    """Photos [1, 3, side, side] down, the photo itself and then every style across."""
    device = gallery.styles.device
    rows = []
    for photo in photos:
        index = torch.arange(len(gallery.styles), device=device)
        painted = [gallery.paint(photo.to(device), i[None]).cpu() for i in index]
        rows.append(torch.cat([photo, *painted], dim=3))
    sheet = torch.cat(rows, dim=2)[0].permute(1, 2, 0)
    return Image.fromarray((sheet * 255).round().byte().numpy())


def sheet_crops(photos: list[Path], side: int = 256) -> list[Tensor]:
    """The middle squares of a few photos spread over the list, float32 [1, 3, side, side].

    Raises DataError if not one photo can be read.
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
