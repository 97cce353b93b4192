"""Real tiny models, real photographs, a real application: what the tests share."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from starlette.testclient import TestClient

from app.http.server import create_app
from app.pixels.images import encode, from_pillow
from app.settings import Settings, read_settings
from tests.tools.slow import read_list
from tests.tools.textures import add_generator
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.networks.styled import StyledNetwork
from training.fit.recipe import Recipe
from training.graphs.folder import export

STYLES = ("warm", "cold", "plain")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in tests/slow.txt as slow."""
    slow = read_list()
    for item in items:
        if item.nodeid.partition("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


def make_recipe(name: str = "tiny", styles: tuple[str, ...] = STYLES) -> Recipe:
    """A recipe of width 4 and one residual block."""
    return Recipe.model_validate(
        {
            "name": name,
            "width": 4,
            "residual_blocks": 1,
            "styles": [{"id": s, "painting": f"{s}.png", "title": s.title()} for s in styles],
            "phases": [{"steps": 4, "crop": 32, "batch": 2}],
            "painting_size": 64,
            "style_layers": {"relu1_1": 1.0},
            "content_layers": {"relu1_1": 1.0},
        }
    )


def make_gallery(recipe: Recipe, seed: int = 0) -> StyledNetwork:
    """Random weights with enough contrast that every style paints differently."""
    torch.manual_seed(seed)
    network = JohnsonNetwork(recipe.width, recipe.residual_blocks)
    gallery = StyledNetwork(network, len(recipe.styles))
    with torch.no_grad():
        network.output.weight.mul_(10)
        gallery.styles.add_(0.5 * torch.randn_like(gallery.styles))
    return gallery


def make_folder(
    folder: Path, name: str = "tiny", styles: tuple[str, ...] = STYLES, seed: int = 0
) -> Path:
    """A whole model folder of a tiny network, exported as any other."""
    recipe = make_recipe(name, styles)
    photo = np.asarray(Image.fromarray(data.chelsea()).resize((48, 33)))
    sample = Image.fromarray(data.chelsea()).resize((60, 40))
    export(make_gallery(recipe, seed), recipe, folder, [photo], {"steps": 0}, sample)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one tiny network; not to be written to."""
    models = tmp_path_factory.mktemp("models")
    make_folder(models / "tiny")
    return models


@pytest.fixture(scope="session")
def texture_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder with a tiny generator; not to be written to."""
    copied = tmp_path_factory.mktemp("texture_models")
    shutil.copytree(models / "tiny", copied / "tiny")
    add_generator(copied / "tiny")
    return copied


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A cat, 120 x 80."""
    return Image.fromarray(data.chelsea()).resize((120, 80))


@pytest.fixture(scope="session")
def jpeg(photo: Image.Image) -> bytes:
    return encode(from_pillow(photo), "jpeg", 95)


@pytest.fixture(scope="session")
def settings(models: Path) -> Settings:
    return read_settings(models=models, device="cpu", threads=1)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of a running application that is ready."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def wait_until_ready(client: TestClient) -> None:
    for _ in range(500):
        if client.get("/readyz").json()["status"] != "loading":
            return
        time.sleep(0.01)
    raise TimeoutError("the application did not become ready")
