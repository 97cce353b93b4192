from pathlib import Path

import pytest
import torch
from PIL import Image

from app.model_folder import read_folder
from tests.conftest import STYLES
from tests.tools.fits import added_recipe
from tests.tools.generated import pixels, planes
from training.fit.added_style import MEAN, id_from, start_vectors
from training.fit.objective import perceptual_loss
from training.fit.recipe import Recipe
from training.fit.validation import nearest_vector
from training.fit.weights import load_network
from training.graphs.parity import paint

pytestmark = pytest.mark.usefixtures("small")


@pytest.mark.parametrize("painter", [*STYLES, MEAN])
def test_the_fit_starts_from_the_vector_nearest_to_the_painting(
    style_place: Path, painter: str
) -> None:
    folder = read_folder(style_place / "models" / "tiny")
    vectors = start_vectors(folder, torch.device("cpu"))
    network = load_network(folder)
    painted = paint(network, pixels(1, 64, 64), vectors[painter][None])[0]
    Image.fromarray(painted).save(style_place / "New Wave.png")
    style_alone = added_recipe(style_place).model_copy(update={"content_weight": 0})
    loss = perceptual_loss(style_alone, Path(), torch.device("cpu"))
    assert nearest_vector(network, vectors, loss, style_alone, planes(1, 64, 64)) == painter


def test_a_new_style_inherits_the_settings_of_its_network(style_place: Path) -> None:
    fitted = added_recipe(style_place)
    assert fitted.style_weight == 20
    assert fitted.style_layers == {"relu1_1": 1.0, "relu2_1": 1.0}
    assert fitted.painting_size == 64
    assert fitted.variation_weight == Recipe.model_fields["variation_weight"].default
    assert (fitted.width, fitted.residual_blocks, fitted.steps) == (4, 1, 6)


@pytest.mark.parametrize(
    ("name", "style_id"),
    [
        ("wave.jpg", "wave"),
        ("Café, la nuit (1888).jpg", "cafe_la_nuit_1888"),
        ("_x_.png", "x"),
        ("a" * 80 + ".png", "a" * 64),
        ("神奈川.png", ""),
    ],
)
def test_the_id_comes_from_the_file_name(name: str, style_id: str) -> None:
    assert id_from(Path("paintings") / name) == style_id
