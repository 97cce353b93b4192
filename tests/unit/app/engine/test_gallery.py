import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from app.engine.device import CPU, Device
from app.engine.gallery import Gallery
from app.errors import BadOption, ModelFolderError, UnknownStyle
from app.model_folder import CARD, REFERENCE, StyleCard, write_graph, write_style
from tests.conftest import make_folder

ON_CPU = Device("cpu", CPU, "float32", 1)


@pytest.fixture(scope="module")
def gallery(models: Path) -> Gallery:
    return Gallery(models, ON_CPU, 1_000_000)


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


def test_a_single_style_is_its_own_vector(gallery: Gallery) -> None:
    brush = gallery.brush("warm")
    assert brush.label == "warm"
    assert np.array_equal(brush.vector, gallery.find("warm")[1].vector)


def test_a_blend_is_the_weighted_mean_of_its_vectors(gallery: Gallery) -> None:
    brush = gallery.brush("warm:3, cold:1")
    warm, cold = (gallery.find(s)[1].vector for s in ("warm", "cold"))
    assert np.allclose(brush.vector, 0.75 * warm + 0.25 * cold, atol=1e-6)
    assert brush.vector.dtype == np.float32
    assert brush.label == "warm:0.75,cold:0.25"


def test_an_unknown_style_is_told_with_those_there_are(gallery: Gallery) -> None:
    with pytest.raises(UnknownStyle, match=r"'nope'.*cold, plain, warm"):
        gallery.brush("warm:1,nope:1")


@pytest.mark.parametrize(
    "text",
    ["warm:-1", "warm:x", "warm:nan", "warm:inf", "warm:0,cold:0", "warm:", ",".join(["warm"] * 9)],
)
def test_a_bad_blend_is_refused(gallery: Gallery, text: str) -> None:
    with pytest.raises(BadOption, match="style"):
        gallery.brush(text)


@pytest.mark.parametrize("text", ["", "../warm", "warm,", "Warm"])
def test_a_name_is_looked_up_never_joined_to_a_path(gallery: Gallery, text: str) -> None:
    with pytest.raises(UnknownStyle):
        gallery.brush(text)


def test_styles_of_two_networks_are_both_served_but_do_not_blend(copied: Path) -> None:
    make_folder(copied / "second", "second", ("dark", "warm"))
    gallery = Gallery(copied, ON_CPU, 1_000_000)
    assert [network.name for network in gallery.networks] == ["second", "tiny"]
    assert {style.id for _, style in gallery} == {"cold", "dark", "plain", "warm"}
    assert any("tiny/warm" in problem for problem in gallery.problems)
    with pytest.raises(BadOption, match="second, tiny"):
        gallery.brush("dark,cold")


@pytest.mark.parametrize("file", ["stylize.onnx", "freeze.onnx", "network.json"])
def test_a_damaged_folder_is_named_and_the_rest_is_served(
    copied: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(copied / "second", "second", ("dark",))
    damaged = copied / "tiny" / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if file == "network.json":
        content = content[: len(content) // 2]
    damaged.write_bytes(content)
    gallery = Gallery(copied, ON_CPU, 1_000_000)
    assert [style.id for _, style in gallery] == ["dark"]
    assert file in caplog.text


def test_with_no_network_left_there_is_no_gallery(copied: Path) -> None:
    (copied / "tiny" / "apply.onnx").unlink()
    with pytest.raises(ModelFolderError, match=r"apply\.onnx"):
        Gallery(copied, ON_CPU, 1_000_000)


def test_an_empty_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="there is no network to serve"):
        Gallery(tmp_path, ON_CPU, 1_000_000)


def opened(models: Path, before: Gallery | None = None) -> Gallery:
    return Gallery(models, ON_CPU, 1_000_000, before)


def ids(gallery: Gallery) -> list[str]:
    return sorted(style.id for _, style in gallery)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def add_style(folder: Path, style_id: str, value: float = 0.5) -> None:
    dimension = json.loads((folder / CARD).read_text())["style_dimension"]
    vector = np.full(dimension, value, np.float32)
    write_style(folder, style_id, vector, StyleCard(title=style_id))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new version of the tiny network, which paints differently; not to be written to."""
    return make_folder(tmp_path_factory.mktemp("other") / "tiny", seed=1)


def replace_folder(folder: Path, new: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(new, folder)


def test_a_folder_that_does_not_paint_its_reference_is_not_served(copied: Path) -> None:
    card = json.loads((copied / "tiny" / CARD).read_text())
    content = bytearray((copied / "tiny" / REFERENCE).read_bytes())
    content[-5000:] = bytes(5000)  # of the picture
    entry = write_graph(copied / "tiny", REFERENCE, bytes(content))
    (copied / "tiny" / CARD).write_text(json.dumps({**card, "reference": entry.model_dump()}))
    with pytest.raises(ModelFolderError, match="stylize does not paint the reference"):
        opened(copied)


def test_a_new_style_is_served_by_the_network_that_is_loaded(copied: Path) -> None:
    before = opened(copied)
    add_style(copied / "tiny", "fresh")
    (copied / "tiny" / "styles" / "cold.safetensors").unlink()
    after = opened(copied, before)
    assert ids(before) == ["cold", "plain", "warm"]
    assert ids(after) == ["fresh", "plain", "warm"]
    assert after.networks[0] is before.networks[0]
    assert not after.new_problems


def test_a_style_that_has_changed_is_read_again(copied: Path) -> None:
    before = opened(copied)
    add_style(copied / "tiny", "warm", 0.25)
    after = opened(copied, before)
    assert (after.brush("warm").vector == np.float32(0.25)).all()
    assert not (before.brush("warm").vector == np.float32(0.25)).any()


def test_what_is_only_told_of_a_network_does_not_load_it_again(copied: Path) -> None:
    before = opened(copied)
    card = json.loads((copied / "tiny" / CARD).read_text())
    (copied / "tiny" / CARD).write_text(json.dumps({**card, "quality": {"better": 1}}))
    assert opened(copied, before).networks == before.networks


def test_folders_come_and_go(copied: Path) -> None:
    first = opened(copied)
    make_folder(copied / "second", "second", ("dark",))
    second = opened(copied, first)
    assert ids(second) == ["cold", "dark", "plain", "warm"]
    assert first.networks[0] in second.networks
    shutil.rmtree(copied / "tiny")
    assert ids(opened(copied, second)) == ["dark"]


def test_a_new_version_of_a_network_takes_the_place_of_the_old_one(
    copied: Path, other: Path
) -> None:
    before = opened(copied)
    replace_folder(copied / "tiny", other)
    after = opened(copied, before)
    assert after.networks[0] is not before.networks[0]
    image = np.random.default_rng(0).integers(0, 256, (1, 30, 40, 3), dtype=np.uint8)
    old, new = (
        g.brush("warm").network.paint(image, g.brush("warm").vector[None]) for g in (before, after)
    )
    assert np.abs(old.astype(int) - new).mean() > 2


def test_a_network_that_is_replaced_is_let_go(copied: Path, other: Path) -> None:
    before = opened(copied)
    network = weakref.ref(before.networks[0])
    replace_folder(copied / "tiny", other)
    after = opened(copied, before)
    del before
    gc.collect()
    assert network() is None
    assert ids(after) == ["cold", "plain", "warm"]


@pytest.mark.parametrize("file", ["stylize.onnx", "apply.onnx", CARD, REFERENCE])
def test_a_damaged_new_version_leaves_the_old_one_serving(
    copied: Path, other: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = opened(copied)
    replace_folder(copied / "tiny", other)
    damage(copied / "tiny" / file)
    if file == CARD:
        (copied / "tiny" / file).write_text("{")
    after = opened(copied, before)
    assert after.networks == before.networks
    assert np.array_equal(after.brush("warm").vector, before.brush("warm").vector)
    (problem,) = after.new_problems
    assert problem.startswith("tiny is served as it was before: ")
    assert file in problem
    assert caplog.text.count(problem) == 1

    replace_folder(copied / "tiny", other)
    mended = opened(copied, after)
    assert mended.networks != before.networks
    assert not mended.problems


def test_a_graph_that_is_damaged_in_its_place_is_told_and_the_loaded_one_goes_on(
    copied: Path,
) -> None:
    before = opened(copied)
    damage(copied / "tiny" / "freeze.onnx")
    after = opened(copied, before)
    assert after.networks == before.networks
    assert [problem for problem in after.new_problems if "freeze.onnx" in problem]


def test_a_style_goes_on_when_its_file_is_damaged_and_a_damaged_new_one_is_left_out(
    copied: Path,
) -> None:
    before = opened(copied)
    for style_id in ("warm", "fresh"):
        (copied / "tiny" / "styles" / f"{style_id}.safetensors").write_bytes(b"damaged")
    after = opened(copied, before)
    assert ids(after) == ["cold", "plain", "warm"]
    assert np.array_equal(after.brush("warm").vector, before.brush("warm").vector)
    assert len(after.new_problems) == 2
    assert all("styles" in problem for problem in after.new_problems)
    later = opened(copied, after)
    assert ids(later) == ["cold", "plain", "warm"]
    (copied / "tiny" / "styles" / "warm.safetensors").unlink()
    assert ids(opened(copied, later)) == ["cold", "plain"]


def test_the_style_of_a_damaged_file_does_not_go_on_under_another_network(
    copied: Path, other: Path
) -> None:
    before = opened(copied)
    replace_folder(copied / "tiny", other)
    (copied / "tiny" / "styles" / "warm.safetensors").write_bytes(b"damaged")
    assert ids(opened(copied, before)) == ["cold", "plain"]


def test_what_has_not_changed_is_told_once(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(copied / "second", "second", ("dark", "warm"))
    (copied / "tiny" / "styles" / "cold.safetensors").write_bytes(b"damaged")
    before = opened(copied)
    assert len(before.new_problems) == 2
    add_style(copied / "second", "fresh")
    after = opened(copied, before)
    assert sorted(after.problems) == sorted(before.problems)
    assert not after.new_problems
    for problem in before.problems:
        assert caplog.text.count(problem) == 1


def test_with_nothing_left_there_is_no_new_gallery(copied: Path) -> None:
    before = opened(copied)
    shutil.rmtree(copied / "tiny")
    with pytest.raises(ModelFolderError, match="there is no network to serve"):
        opened(copied, before)


def test_networks_of_the_same_name_do_not_blend(copied: Path, other: Path) -> None:
    shutil.copytree(other, copied / "twin")
    (copied / "twin" / "styles" / "warm.safetensors").rename(
        copied / "twin" / "styles" / "hot.safetensors"
    )
    with pytest.raises(BadOption, match="only styles of one network blend"):
        opened(copied).brush("hot,warm")
