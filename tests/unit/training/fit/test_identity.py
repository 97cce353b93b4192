from pathlib import Path

import torch

from tests.conftest import make_gallery, make_recipe
from tests.tools.generated import planes, write_pictures
from training.fit.data import Batches
from training.fit.identity import compare_rows, identity_vector
from training.fit.recipe import Phase


def test_the_identity_vector_reproduces_photos_better_than_its_start(
    tmp_path: Path,
) -> None:
    gallery = make_gallery(make_recipe()).eval()
    network, start = gallery.network.requires_grad_(False), gallery.styles[0].detach()
    recipe = make_recipe().model_copy(update={"phases": [Phase(steps=20, crop=[32], batch=2)]})
    batches = Batches(write_pictures(tmp_path, 3), recipe)
    fitted = identity_vector(network, start, batches)
    photos = batches[0].photos.float() / 255

    def error(vector: torch.Tensor) -> float:
        return float((network(photos, vector.expand(2, -1)) - photos).square().mean())

    with torch.no_grad():
        assert error(fitted) < 0.9 * error(start)


def test_rows_run_from_the_photo_and_from_identity_to_the_style() -> None:
    gallery = make_gallery(make_recipe()).eval()
    photo = planes(1, 32, 40)
    with torch.no_grad():
        rows = compare_rows(gallery.network, photo, gallery.styles[0], gallery.styles[1])
        painted, other = (gallery.network(photo, gallery.styles[i][None])[0] for i in (0, 1))
    assert rows.shape == (3, 64, 200)
    torch.testing.assert_close(rows[:, :32, :40], photo[0])
    torch.testing.assert_close(rows[:, 32:, :40], other)
    torch.testing.assert_close(rows[:, :32, 160:], painted)
    torch.testing.assert_close(rows[:, 32:, 160:], painted)
