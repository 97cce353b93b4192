from pathlib import Path

import numpy as np
import pytest

from app.engine.devices.choice import pick_device
from app.engine.gallery import Gallery
from app.engine.steady import SteadyNetwork
from tests.tools.image_files import SHADES


@pytest.fixture(scope="module")
def gallery(models: Path) -> Gallery:
    return Gallery([models], pick_device("cpu", 1), 2**16)


def test_the_key_image_is_painted_as_ever(gallery: Gallery) -> None:
    brush = gallery.brush("warm", 1)
    steady = SteadyNetwork(brush.network, SHADES)
    image, style = SHADES[None], brush.vector[None]
    painted = steady.paint(image, style)
    assert np.abs(painted.astype(int) - brush.network.paint(image, style)).max() <= 1
    assert steady.valid(image, painted) == [True]
    assert steady.pixels(SHADES) == 48 * 32
    assert (steady.name, steady.operation) == (brush.network.name, "stylize")


def test_other_images_do_not_change_the_statistics(gallery: Gallery) -> None:
    brush = gallery.brush("warm", 1)
    steady = SteadyNetwork(brush.network, SHADES)
    dark = SHADES // 4
    both = np.stack([dark, SHADES])
    painted = steady.paint(both, np.stack([brush.vector] * 2))
    assert np.array_equal(painted[1], steady.paint(SHADES[None], brush.vector[None])[0])
    alone = brush.network.paint(dark[None], brush.vector[None])[0]
    assert np.abs(painted[0].astype(int) - alone).mean() > 3


def test_large_images_are_painted_in_tiles(gallery: Gallery) -> None:
    brush = gallery.brush("warm", 1)
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (300, 320, 3), np.uint8)
    assert large.shape[0] * large.shape[1] > brush.network.tile_pixels
    painted = SteadyNetwork(brush.network, large).paint(large[None], brush.vector[None])
    assert np.array_equal(painted, brush.network.paint(large[None], brush.vector[None]))


def test_a_rebuilt_network_paints_alike(gallery: Gallery) -> None:
    brush = gallery.brush("warm", 1)
    steady = SteadyNetwork(brush.network, SHADES)
    before = steady.paint(SHADES[None], brush.vector[None])
    steady.rebuild()
    assert np.array_equal(steady.paint(SHADES[None], brush.vector[None]), before)
