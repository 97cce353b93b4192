import itertools
from pathlib import Path

import numpy as np
import pytest

from app.card import read_folder
from app.device import CPU, Device
from app.model import Network, _spans
from tests.conftest import make_gallery, make_recipe
from training.export import paint

ON_CPU = Device("cpu", CPU, "float32", 1)


def noise(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(models: Path) -> Network:
    return Network(read_folder(models / "tiny"), ON_CPU, tile_pixels=1_000_000)


def test_the_warm_up_runs_every_graph(network: Network) -> None:
    network.warm_up()


def test_a_batch_of_styles_is_what_each_gives_alone_and_what_pytorch_gives(
    network: Network,
) -> None:
    images, gallery = noise(33, 50, 3), make_gallery(make_recipe())
    styles = np.stack([network.styles[s].vector for s in ("warm", "cold", "plain")])
    together = network.paint(images, styles)
    for i in range(3):
        alone = network.paint(images[i : i + 1], styles[i : i + 1])[0]
        expected = paint(gallery.network, images[i : i + 1], gallery.styles[i : i + 1].detach())[0]
        assert np.abs(together[i].astype(int) - alone).max() <= 1
        assert np.abs(together[i].astype(int) - expected).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 2


@pytest.mark.parametrize(("height", "width"), [(400, 300), (301, 415), (40, 2500)])
def test_tiles_meet_without_a_seam(models: Path, height: int, width: int) -> None:
    folder = read_folder(models / "tiny")
    tiled = Network(folder, ON_CPU, tile_pixels=140 * 140)
    image, style = noise(height, width), folder.styles["warm"].vector
    painted = tiled.paint(image, style[None])
    expected = tiled._apply.run(image=image, frozen=tiled._frozen(image[0], style))
    assert painted.shape == image.shape
    assert np.abs(painted.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("length", "side"), [(16, 4), (17, 8), (4000, 1300), (1301, 1300)])
def test_spans_cover_the_length_in_strides(length: int, side: int) -> None:
    spans = _spans(length, side)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(a[1] == b[0] and b[0] % 4 == 0 for a, b in itertools.pairwise(spans))
    assert all(0 < stop - start <= side for start, stop in spans)
