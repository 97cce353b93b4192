from pathlib import Path

import numpy as np

from tests.tools.fits import texture_recipe
from tests.tools.tiny import tiny_generator
from training.fit.texture.previews import texture_sheet


def test_a_sheet_has_a_texture_of_every_painting(texture_place: Path) -> None:
    recipe = texture_recipe(texture_place, "local_noise=2", "global_noise=1")
    model = tiny_generator(paintings=2)
    sheet = np.asarray(texture_sheet(model, recipe, side=40))
    assert sheet.shape == (40, 80, 3)
    one, other = sheet[:, :40], sheet[:, 40:]
    assert one.std() > 10
    assert other.std() > 10
    assert np.abs(one.astype(int) - other).mean() > 5
    assert np.array_equal(sheet, np.asarray(texture_sheet(model, recipe, side=40)))
    assert texture_sheet(model, recipe, 1.5, side=40).size == (80, 40)
