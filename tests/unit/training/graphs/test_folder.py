import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from app.model_folder import read_folder
from tests.conftest import STYLES, make_gallery, make_recipe
from tests.tools.generated import picture, pixels
from tests.tools.textures import add_generator
from training.fit.networks.johnson import JohnsonNetwork
from training.fit.weights import load_network
from training.graphs.folder import export as write_folder
from training.graphs.folder import tile_margin, write_preview
from training.graphs.parity import paint


def test_a_folder_holds_every_style_with_its_preview(models: Path) -> None:
    folder = read_folder(models / "tiny")
    assert set(folder.styles) == set(STYLES)
    assert not folder.problems
    assert folder.card.tile_margin == tile_margin(JohnsonNetwork(4, 1))
    for style in folder.styles.values():
        assert style.card.title == style.id.title()
        assert style.card.painting_size == make_recipe().painting_size
        assert style.preview is not None
        with Image.open(style.preview) as preview:
            assert preview.size == (60, 40)


def test_graphs_weights_and_styles_of_a_folder_match(models: Path) -> None:
    folder, gallery = read_folder(models / "tiny"), make_gallery(make_recipe())
    network = load_network(folder)
    session = ort.InferenceSession(folder.graph("stylize"), providers=["CPUExecutionProvider"])
    image = pixels(1, 32, 40)
    for index, style in enumerate(make_recipe().styles):
        vector = folder.styles[style.id].vector[None]
        (painted,) = session.run(None, {"image": image, "style": vector})
        for expected in (
            paint(network, image, torch.from_numpy(vector)),
            paint(gallery.network, image, gallery.styles[index : index + 1]),
        ):
            assert np.abs(np.asarray(painted).astype(int) - expected).max() <= 1


def test_previews_are_at_most_512_pixels_wide(tmp_path: Path) -> None:
    gallery, sample = make_gallery(make_recipe()), picture(800, 400)
    write_preview(tmp_path, "warm", gallery.network, gallery.styles[0], sample)
    with Image.open(tmp_path / "previews" / "warm.jpg") as preview:
        assert preview.size == (512, 256)


@pytest.mark.parametrize(("blocks", "margin"), [(1, 28), (2, 36), (5, 60)])
def test_the_tile_margin_covers_the_receptive_field(blocks: int, margin: int) -> None:
    # 4 + 1 + 2 + 8 per block + 2 + 1 + 4, plus 3 within a stride, rounded up to whole strides
    assert tile_margin(JohnsonNetwork(4, blocks)) == margin


def test_without_a_sample_there_are_no_previews(tmp_path: Path) -> None:
    gallery, recipe = make_gallery(make_recipe()), make_recipe()
    write_folder(gallery, recipe, tmp_path, [*pixels(1, 16, 16)], {})
    assert {style.preview for style in read_folder(tmp_path).styles.values()} == {None}


def test_an_export_keeps_the_generator_of_its_folder(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "tiny", tmp_path / "tiny")
    card = add_generator(folder)
    write_folder(make_gallery(make_recipe(), 1), make_recipe(), folder, [*pixels(1, 16, 16)], {})
    assert read_folder(folder).generator == card
    assert set(read_folder(folder).textures) == {"warm", "sand"}
