import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.engine.devices.choice import open_session
from app.engine.devices.device import CPU, Device, Session
from app.engine.network import Network, _spans, check_output
from app.errors import BadOutput, ModelFolderError, OutOfMemory
from app.model_folder import read_folder, write_card, write_graph
from tests.conftest import make_folder, make_gallery, make_recipe
from tests.tools.tiny import NOISY, tiny_network
from training.fit.recipe import Recipe
from training.graphs.folder import export
from training.graphs.parity import paint

ON_CPU = Device("cpu", CPU, "float32", 1)


def noise(height: int, width: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(models: Path) -> Network:
    return Network(read_folder(models / "tiny"), ON_CPU, tile_pixels=1_000_000)


def test_warming_up_runs_every_graph(models: Path) -> None:
    run: set[str] = set()

    class Recorder:
        def __init__(self, graph: bytes, device: Device, name: str) -> None:
            self._session, self._name = open_session(graph, device, name), name

        def run(self, **inputs: np.ndarray) -> np.ndarray:
            run.add(self._name)
            return self._session.run(**inputs)

    Network(read_folder(models / "tiny"), ON_CPU, open_session=Recorder).warm_up()
    assert run == {"tiny/stylize", "tiny/freeze", "tiny/apply"}


def test_a_batch_is_painted_like_single_images_and_like_pytorch_paints_them(
    network: Network,
) -> None:
    images, gallery = noise(33, 50, 3), make_gallery(make_recipe())
    styles = np.stack([network.folder.styles[s].vector for s in ("warm", "cold", "plain")])
    together = network.paint(images, styles)
    for i in range(3):
        alone = network.paint(images[i : i + 1], styles[i : i + 1])[0]
        expected = paint(gallery.network, images[i : i + 1], gallery.styles[i : i + 1].detach())[0]
        assert np.abs(together[i].astype(int) - alone).max() <= 1
        assert np.abs(together[i].astype(int) - expected).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 2


@pytest.mark.parametrize(("height", "width"), [(400, 300), (301, 415), (40, 2500)])
def test_tiles_join_without_a_seam(models: Path, height: int, width: int) -> None:
    folder = read_folder(models / "tiny")
    tiled = Network(folder, ON_CPU, tile_pixels=140 * 140)
    image, style = noise(height, width), folder.styles["warm"].vector
    painted = tiled.paint(image, style[None])
    expected = tiled._run("apply", image=image, frozen=tiled.freeze(image[0], style))
    assert painted.shape == image.shape
    assert np.abs(painted.astype(int) - expected).max() <= 1


def test_tiles_of_a_network_with_noise_join_without_a_seam(tmp_path: Path) -> None:
    values = make_recipe().model_dump() | {
        **NOISY.model_dump(exclude={"name"}),
        "layout": NOISY.name,
        "phases": [{"steps": 1, "crop": [64]}],
    }
    photo = noise(48, 56)[0]
    export(tiny_network(NOISY), Recipe.model_validate(values), tmp_path, [photo], {"steps": 0})
    folder = read_folder(tmp_path)
    tiled = Network(folder, ON_CPU, tile_pixels=400 * 400)
    tiled.warm_up()
    image, style = noise(410, 500), folder.styles["warm"].vector
    frozen = tiled.freeze(image[0], style)
    expected = Network(folder, ON_CPU).paint_frozen(image, frozen)
    painted = tiled.paint_frozen(image, frozen)
    assert np.abs(painted.astype(int) - expected).max() <= 1
    elsewhere = tiled._run("apply", image=image, frozen=frozen, origin=np.array([8, 16]))
    assert np.abs(elsewhere.astype(int) - expected).max() > 4  # control


@pytest.mark.parametrize(("length", "side"), [(16, 4), (17, 8), (4000, 1300), (1301, 1300)])
def test_spans_cover_the_length_in_multiples_of_the_stride(length: int, side: int) -> None:
    spans = _spans(length, side, 4)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(a[1] == b[0] and b[0] % 4 == 0 for a, b in itertools.pairwise(spans))
    assert all(0 < stop - start <= side for start, stop in spans)


def flipped(content: bytes) -> bytes:
    """The graph with one bit flipped: the exponent's highest, of a weight of the last layer."""
    model = onnx.load_from_string(content)
    weight = next(t for t in reversed(model.graph.initializer) if len(t.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.view(np.uint32).flat[0] ^= 1 << 30
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return bytes(model.SerializeToString())


def change_graph(folder: Path, name: Any, content: bytes) -> None:
    """Replace a graph, and its digest in the card."""
    card = read_folder(folder).card
    entry = write_graph(folder, f"{name}.onnx", content)
    write_card(folder, card.model_copy(update={"graphs": {**card.graphs, name: entry}}))


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy of the model folder, which the test may change."""
    return shutil.copytree(models / "tiny", tmp_path / "tiny")


def checked(path: Path) -> Network:
    read = read_folder(path)
    network = Network(read, ON_CPU, tile_pixels=1_000_000)
    reference = read.reference()
    assert reference is not None
    network.check(reference)
    return network


def test_a_network_that_paints_its_reference_passes_the_check(models: Path) -> None:
    assert checked(models / "tiny").name == "tiny"


@pytest.mark.parametrize("graph", ["stylize", "freeze", "apply"])
def test_the_check_finds_a_flipped_bit_that_the_digest_does_not(folder: Path, graph: str) -> None:
    change_graph(folder, graph, flipped((folder / f"{graph}.onnx").read_bytes()))
    with pytest.raises((ModelFolderError, BadOutput)) as caught:
        checked(folder)
    if isinstance(caught.value, ModelFolderError):
        wrong = "stylize" if graph == "stylize" else "freeze and apply"
        difference = (
            r"\d+\.\d\d grey levels off on average \(at most 2\), \d+\.\d% of values within 12"
        )
        assert re.search(rf"tmp.*/tiny: {wrong} does not .*: {difference}", str(caught.value))


def test_the_check_finds_the_graph_of_another_network(folder: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", seed=1)
    change_graph(folder, "stylize", (other / "stylize.onnx").read_bytes())
    with pytest.raises(ModelFolderError, match=r"tiny: stylize does not paint the reference"):
        checked(folder)


@pytest.mark.parametrize(
    ("levels", "share", "passes"),
    [(1, 1.0, True), (3, 1.0, False), (100, 0.008, True), (100, 0.015, False)],
)
def test_small_differences_everywhere_or_large_ones_in_few_places_pass_the_check(
    models: Path, levels: int, share: float, passes: bool
) -> None:
    network, reference = checked(models / "tiny"), read_folder(models / "tiny").reference()
    assert reference is not None
    moved = network.paint(reference.image, reference.style)
    values = moved.reshape(-1)[: int(share * moved.size)]
    values += np.where(values < 128, levels, -levels).astype(np.uint8)
    if passes:
        network.check(replace(reference, pastiche=moved))
    else:
        with pytest.raises(ModelFolderError, match="does not paint the reference"):
            network.check(replace(reference, pastiche=moved))


def test_non_finite_numbers_are_an_invalid_output(network: Network) -> None:
    image, style = noise(40, 50), network.folder.styles["warm"].vector[None].copy()
    style[:, -6:] = np.nan
    with pytest.raises(BadOutput, match="single value"):
        network.paint(image, style)
    tiled = Network(network.folder, ON_CPU, tile_pixels=140 * 140)
    with pytest.raises(BadOutput, match="single value"):
        tiled.paint(noise(150, 200), style)


def test_only_the_invalid_outputs_of_a_batch_are_found(network: Network) -> None:
    images = noise(20, 30, 3)
    styles = np.stack([network.folder.styles["warm"].vector] * 3)
    styles[1, -6:] = np.nan
    painted = network.paint(images, styles)
    assert check_output(images, painted) == [True, False, True]


def test_a_single_value_is_valid_only_for_an_image_of_a_single_value() -> None:
    flat, other = np.full((1, 4, 4, 3), 7, np.uint8), noise(4, 4)
    assert check_output(flat, flat) == [True]
    assert check_output(other, other) == [True]
    assert check_output(flat, other) == [True]
    assert check_output(other, flat) == [False]


def test_an_output_of_another_shape_is_invalid(folder: Path) -> None:
    change_graph(folder, "stylize", (folder / "freeze.onnx").read_bytes())
    network = Network(read_folder(folder), ON_CPU, 1_000_000)
    with pytest.raises(BadOutput, match=r"float32 \[1, \d+\] instead of uint8 \[1, 16"):
        network.warm_up()


def test_a_network_paints_the_same_after_a_rebuild(network: Network) -> None:
    image, style = noise(20, 30), network.folder.styles["warm"].vector[None]
    before, sessions = network.paint(image, style), network._sessions
    network.rebuild()
    assert not set(map(id, network._sessions.values())) & set(map(id, sessions.values()))
    assert np.array_equal(network.paint(image, style), before)


def test_a_rebuild_from_changed_files_fails_and_keeps_the_old_sessions(
    folder: Path,
) -> None:
    network = Network(read_folder(folder), ON_CPU, 1_000_000)
    (folder / "apply.onnx").write_bytes(b"something else")
    with pytest.raises(ModelFolderError, match="sha256"):
        network.rebuild()
    network.warm_up()


def test_without_memory_for_a_rebuild_the_network_cannot_paint_until_one_succeeds(
    folder: Path,
) -> None:
    full = False

    def open_unless_full(graph: bytes, device: Device, name: str) -> Session:
        if full:
            assert not rebuilt._sessions  # released before new ones are opened
            raise OutOfMemory("full")
        return open_session(graph, device, name)

    rebuilt = Network(read_folder(folder), ON_CPU, open_session=open_unless_full)
    image, style = noise(20, 30), rebuilt.folder.styles["warm"].vector[None]
    full = True
    with pytest.raises(OutOfMemory, match="full"):
        rebuilt.rebuild()
    with pytest.raises(OutOfMemory):
        rebuilt.paint(image, style)
    full = False
    rebuilt.rebuild()
    assert rebuilt.paint(image, style).shape == image.shape
