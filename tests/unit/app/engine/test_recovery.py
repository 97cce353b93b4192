import numpy as np
import pytest

from app.engine.network import SINGLE_VALUE
from app.engine.recovery import RECOVERY_BATCHES, BatchPainter
from app.errors import BadOutput, InferenceFailed, ModelFolderError, OutOfMemory
from tests.tools.painter import FakePainter

MAX_PIXELS = 800  # eight images of 10 x 10 pixels


@pytest.fixture
def network() -> FakePainter:
    network = FakePainter()
    network.gate.set()
    return network


@pytest.fixture
def painter() -> BatchPainter:
    return BatchPainter(MAX_PIXELS)


def paint(painter: BatchPainter, network: FakePainter, count: int) -> list[int | type[Exception]]:
    """Paint `count` black images in the styles 0, 1, ...; returns each image's value or error."""
    images = np.zeros((count, 10, 10, 3), np.uint8)
    outcomes = painter.paint(network, images, np.arange(count, dtype=np.float32)[:, None])
    return [type(o) if isinstance(o, Exception) else int(o[0, 0, 0]) for o in outcomes]


def test_a_batch_that_fits_is_painted_at_once(painter: BatchPainter, network: FakePainter) -> None:
    assert paint(painter, network, 3) == [0, 1, 2]
    assert (network.batches, network.rebuilds) == ([3], 0)


def test_a_batch_that_does_not_fit_is_halved_until_it_does_after_one_rebuild(
    painter: BatchPainter, network: FakePainter
) -> None:
    network.memory, network.memory_after_rebuild = 1, 2
    assert paint(painter, network, 5) == [0, 1, 2, 3, 4]
    assert network.batches == [5, 3, 2, 1, 2]
    assert network.rebuilds == 1


def test_the_limit_is_halved_and_has_recovered_after_a_hundred_batches(
    painter: BatchPainter, network: FakePainter
) -> None:
    network.memory = network.memory_after_rebuild = 4
    paint(painter, network, 8)
    step = MAX_PIXELS / RECOVERY_BATCHES
    assert painter.limit == 400 + 2 * step  # both halves were painted
    for _ in range(25):
        paint(painter, network, 1)
    assert painter.limit == 400 + 27 * step
    for _ in range(RECOVERY_BATCHES):
        paint(painter, network, 1)
    assert painter.limit == MAX_PIXELS


def test_a_new_limit_replaces_a_lowered_one(painter: BatchPainter, network: FakePainter) -> None:
    network.memory = network.memory_after_rebuild = 1
    paint(painter, network, 8)
    assert painter.limit < MAX_PIXELS
    painter.set_max_pixels(500)
    assert painter.limit == 500


def test_a_single_image_is_painted_again_after_a_rebuild(
    painter: BatchPainter, network: FakePainter
) -> None:
    network.memory = 0
    assert paint(painter, network, 1) == [0]
    assert (network.batches, network.rebuilds) == ([1, 1], 1)


@pytest.mark.parametrize("rebuild_error", [None, ModelFolderError("changed"), OutOfMemory("full")])
def test_images_that_never_fit_fail_and_the_next_batch_is_painted(
    painter: BatchPainter, network: FakePainter, rebuild_error: Exception | None
) -> None:
    network.memory, network.memory_after_rebuild = 0, 0
    network.rebuild_error = rebuild_error
    assert paint(painter, network, 2) == [OutOfMemory] * 2
    assert network.rebuilds == 1
    network.memory = 1
    assert paint(painter, network, 1) == [0]


def test_other_errors_fail_the_whole_batch_without_a_rebuild(
    painter: BatchPainter, network: FakePainter
) -> None:
    network.error = InferenceFailed("broken")
    assert paint(painter, network, 3) == [InferenceFailed] * 3
    assert (network.batches, network.rebuilds) == ([3], 0)


def test_only_the_invalid_outputs_of_a_batch_fail(
    painter: BatchPainter, network: FakePainter
) -> None:
    photo = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)  # its output is a single value
    black = np.zeros((10, 10, 3), np.uint8)
    styles = np.ones((3, 1), np.float32)
    first, invalid, last = painter.paint(network, np.stack([black, photo, black]), styles)
    assert isinstance(first, np.ndarray)
    assert isinstance(invalid, BadOutput)
    assert str(invalid) == SINGLE_VALUE
    assert isinstance(last, np.ndarray)
