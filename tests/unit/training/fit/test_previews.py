from pathlib import Path

import numpy as np
import torch

from tests.tools.fits import fit_recipe
from tests.tools.generated import write_pictures
from training.fit import previews as preview
from training.fit.checkpoint import initial_state
from training.fit.data import find_photos

CPU = torch.device("cpu")


@torch.no_grad()
def test_a_sheet_shows_each_photo_and_then_its_styles(fit_place: Path) -> None:
    model = initial_state(fit_recipe(fit_place), CPU).model
    model.network.output.weight.mul_(20)
    photos = preview.sheet_crops(find_photos(fit_place / "photos"), 32)
    sheet = np.asarray(preview.preview_sheet(model, photos))
    assert sheet.shape == (3 * 32, 3 * 32, 3)
    for row, photo in enumerate(photos):
        cells = [photo, *(model.paint(photo, torch.tensor([i])) for i in range(2))]
        expected = torch.cat(cells, dim=3)[0].permute(1, 2, 0) * 255
        assert np.abs(sheet[32 * row : 32 * row + 32] - expected.numpy()).max() <= 1


def test_sheets_skip_unreadable_photos(fit_place: Path) -> None:
    photos = write_pictures(fit_place / "many", 12)
    for photo in photos[:11]:
        photo.write_bytes(b"no picture")
    (crop,) = preview.sheet_crops(photos, 64)
    assert crop.shape == (1, 3, 64, 64)
