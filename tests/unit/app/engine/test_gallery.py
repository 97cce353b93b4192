import gc
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from app.engine.devices.device import CPU, Device
from app.engine.gallery import Gallery
from app.errors import BadOption, ModelFolderError, NoGenerator, UnknownStyle
from app.model_folder import (
    CARD,
    GENERATOR_GRAPH,
    GENERATOR_REFERENCE,
    REFERENCE,
    StyleCard,
    read_folder,
    write_graph,
    write_style,
    write_texture,
)
from tests.conftest import make_folder
from tests.tools.textures import add_generator

ON_CPU = Device("cpu", CPU, "float32", 1)


@pytest.fixture(scope="module")
def gallery(models: Path) -> Gallery:
    return Gallery([models], ON_CPU)


@pytest.fixture
def copied(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "models")
    return tmp_path / "models"


def test_a_single_style_is_painted_with_its_vector(gallery: Gallery) -> None:
    brush = gallery.brush("warm")
    assert brush.label == "warm"
    assert np.array_equal(brush.vector, gallery.find("warm")[1].vector)


def test_a_blend_is_the_weighted_mean_of_its_vectors(gallery: Gallery) -> None:
    brush = gallery.brush("warm:3, cold:1")
    warm, cold = (gallery.find(s)[1].vector for s in ("warm", "cold"))
    assert np.allclose(brush.vector, 0.75 * warm + 0.25 * cold, atol=1e-6)
    assert brush.vector.dtype == np.float32
    assert brush.label == "warm:0.75,cold:0.25"


def test_strength_above_1_moves_towards_the_bold_vector(copied: Path) -> None:
    folder = copied / "tiny"
    styles = read_folder(folder).styles
    bold = styles["warm"].vector[::-1]
    write_style(folder, "warm", styles["warm"].vector, StyleCard(title="Warm"), bold)
    gallery = Gallery([copied], ON_CPU)
    default = styles["warm"].vector
    for strength, expected in ((0.5, default), (1.0, default), (2.0, bold)):
        assert np.allclose(gallery.brush("warm", strength).vector, expected, atol=1e-6)
    assert np.allclose(gallery.brush("warm", 1.25).vector, 0.75 * default + 0.25 * bold, atol=1e-6)
    with pytest.raises(BadOption, match="strength: at most 1 for the style 'cold'"):
        gallery.brush("warm,cold", 1.25)


def test_the_error_for_an_unknown_style_lists_the_styles(gallery: Gallery) -> None:
    with pytest.raises(UnknownStyle, match=r"'nope'.*cold, plain, warm"):
        gallery.brush("warm:1,nope:1")


@pytest.mark.parametrize(
    "text",
    ["warm:-1", "warm:x", "warm:nan", "warm:inf", "warm:0,cold:0", "warm:", ",".join(["warm"] * 9)],
)
def test_an_invalid_blend_is_refused(gallery: Gallery, text: str) -> None:
    with pytest.raises(BadOption, match="style"):
        gallery.brush(text)


@pytest.mark.parametrize("text", ["", "../warm", "warm,", "Warm"])
def test_an_id_is_never_used_as_a_path(gallery: Gallery, text: str) -> None:
    with pytest.raises(UnknownStyle):
        gallery.brush(text)


def test_two_networks_are_served_but_their_styles_cannot_be_blended(copied: Path) -> None:
    make_folder(copied / "second", "second", ("dark",))
    gallery = Gallery([copied], ON_CPU)
    assert [network.name for network in gallery.networks] == ["second", "tiny"]
    assert {style.id for _, style in gallery} == {"cold", "dark", "plain", "warm"}
    with pytest.raises(BadOption, match="second, tiny"):
        gallery.brush("dark,cold")


@pytest.mark.parametrize("file", ["stylize.onnx", "freeze.onnx", "network.json"])
def test_a_damaged_folder_is_logged_and_the_others_are_served(
    copied: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(copied / "second", "second", ("dark",))
    damaged = copied / "tiny" / file
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    if file == "network.json":
        content = content[: len(content) // 2]
    damaged.write_bytes(content)
    gallery = Gallery([copied], ON_CPU)
    assert [style.id for _, style in gallery] == ["dark"]
    assert file in caplog.text


def test_a_gallery_without_a_network_is_an_error(copied: Path) -> None:
    (copied / "tiny" / "apply.onnx").unlink()
    with pytest.raises(ModelFolderError, match=r"apply\.onnx"):
        Gallery([copied], ON_CPU)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="there is no network to serve"):
        Gallery([tmp_path], ON_CPU)


def load(models: Path, previous: Gallery | None = None) -> Gallery:
    return Gallery([models], ON_CPU, previous=previous)


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
    """A new version of the tiny network, which paints differently. Do not change it."""
    return make_folder(tmp_path_factory.mktemp("other") / "tiny", seed=1)


def replace_folder(folder: Path, new: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(new, folder)


def test_a_folder_that_does_not_paint_its_reference_is_not_served(copied: Path) -> None:
    card = json.loads((copied / "tiny" / CARD).read_text())
    content = bytearray((copied / "tiny" / REFERENCE).read_bytes())
    content[-5000:] = bytes(5000)  # of the pastiche
    entry = write_graph(copied / "tiny", REFERENCE, bytes(content))
    (copied / "tiny" / CARD).write_text(json.dumps({**card, "reference": entry.model_dump()}))
    with pytest.raises(ModelFolderError, match="stylize does not paint the reference"):
        load(copied)


def test_a_new_style_does_not_reload_its_network(copied: Path) -> None:
    before = load(copied)
    add_style(copied / "tiny", "fresh")
    (copied / "tiny" / "styles" / "cold.safetensors").unlink()
    after = load(copied, before)
    assert ids(before) == ["cold", "plain", "warm"]
    assert ids(after) == ["fresh", "plain", "warm"]
    assert after.networks[0] is before.networks[0]
    assert not after.new_problems


def test_a_changed_style_is_read_again(copied: Path) -> None:
    before = load(copied)
    add_style(copied / "tiny", "warm", 0.25)
    after = load(copied, before)
    assert (after.brush("warm").vector == np.float32(0.25)).all()
    assert not (before.brush("warm").vector == np.float32(0.25)).any()


def test_a_change_of_the_cards_notes_does_not_reload_the_network(copied: Path) -> None:
    before = load(copied)
    card = json.loads((copied / "tiny" / CARD).read_text())
    (copied / "tiny" / CARD).write_text(json.dumps({**card, "quality": {"better": 1}}))
    assert load(copied, before).networks == before.networks


def test_folders_can_be_added_and_removed(copied: Path) -> None:
    first = load(copied)
    make_folder(copied / "second", "second", ("dark",))
    second = load(copied, first)
    assert ids(second) == ["cold", "dark", "plain", "warm"]
    assert first.networks[0] in second.networks
    shutil.rmtree(copied / "tiny")
    assert ids(load(copied, second)) == ["dark"]


def test_a_new_version_of_a_network_replaces_the_old_one(copied: Path, other: Path) -> None:
    before = load(copied)
    replace_folder(copied / "tiny", other)
    after = load(copied, before)
    assert after.networks[0] is not before.networks[0]
    image = np.random.default_rng(0).integers(0, 256, (1, 30, 40, 3), dtype=np.uint8)
    old, new = (
        g.brush("warm").network.paint(image, g.brush("warm").vector[None]) for g in (before, after)
    )
    assert np.abs(old.astype(int) - new).mean() > 2


def test_a_replaced_network_is_released(copied: Path, other: Path) -> None:
    before = load(copied)
    network = weakref.ref(before.networks[0])
    replace_folder(copied / "tiny", other)
    after = load(copied, before)
    del before
    gc.collect()
    assert network() is None
    assert ids(after) == ["cold", "plain", "warm"]


@pytest.mark.parametrize("file", ["stylize.onnx", "apply.onnx", CARD, REFERENCE])
def test_the_old_version_is_served_if_the_new_one_is_damaged(
    copied: Path, other: Path, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(copied)
    replace_folder(copied / "tiny", other)
    damage(copied / "tiny" / file)
    if file == CARD:
        (copied / "tiny" / file).write_text("{")
    after = load(copied, before)
    assert after.networks == before.networks
    assert np.array_equal(after.brush("warm").vector, before.brush("warm").vector)
    (problem,) = after.new_problems
    assert problem.startswith("tiny: the previous version is still served: ")
    assert file in problem
    assert caplog.text.count(problem) == 1

    replace_folder(copied / "tiny", other)
    repaired = load(copied, after)
    assert repaired.networks != before.networks
    assert not repaired.problems


def test_a_damaged_graph_is_logged_and_the_loaded_one_is_still_served(
    copied: Path,
) -> None:
    before = load(copied)
    damage(copied / "tiny" / "freeze.onnx")
    after = load(copied, before)
    assert after.networks == before.networks
    assert [problem for problem in after.new_problems if "freeze.onnx" in problem]


def test_a_style_whose_file_is_damaged_is_still_served_but_a_damaged_new_one_is_not(
    copied: Path,
) -> None:
    before = load(copied)
    for style_id in ("warm", "fresh"):
        (copied / "tiny" / "styles" / f"{style_id}.safetensors").write_bytes(b"damaged")
    after = load(copied, before)
    assert ids(after) == ["cold", "plain", "warm"]
    assert np.array_equal(after.brush("warm").vector, before.brush("warm").vector)
    assert len(after.new_problems) == 2
    assert all("styles" in problem for problem in after.new_problems)
    later = load(copied, after)
    assert ids(later) == ["cold", "plain", "warm"]
    (copied / "tiny" / "styles" / "warm.safetensors").unlink()
    assert ids(load(copied, later)) == ["cold", "plain"]


def test_a_damaged_style_is_not_served_with_a_new_network(copied: Path, other: Path) -> None:
    before = load(copied)
    replace_folder(copied / "tiny", other)
    (copied / "tiny" / "styles" / "warm.safetensors").write_bytes(b"damaged")
    assert ids(load(copied, before)) == ["cold", "plain"]


def test_a_problem_is_logged_once(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(copied / "second", "second", ("dark",))
    (copied / "tiny" / "styles" / "cold.safetensors").write_bytes(b"damaged")
    (copied / "empty").mkdir()
    before = Gallery([copied, copied / "empty"], ON_CPU)
    assert len(before.new_problems) == 2
    add_style(copied / "second", "fresh")
    after = Gallery([copied, copied / "empty"], ON_CPU, previous=before)
    assert sorted(after.problems) == sorted(before.problems)
    assert not after.new_problems
    for problem in before.problems:
        assert caplog.text.count(problem) == 1


def test_removing_the_last_network_is_an_error(copied: Path) -> None:
    before = load(copied)
    shutil.rmtree(copied / "tiny")
    with pytest.raises(ModelFolderError, match="there is no network to serve"):
        load(copied, before)


def test_two_networks_of_the_same_name_cannot_be_blended(copied: Path, other: Path) -> None:
    shutil.copytree(other, copied / "twin")
    styles = copied / "twin" / "styles"
    (styles / "warm.safetensors").rename(styles / "hot.safetensors")
    for style_id in ("cold", "plain"):
        (styles / f"{style_id}.safetensors").unlink()
    with pytest.raises(BadOption, match="only styles of one network can be blended"):
        load(copied).brush("hot,warm")


@pytest.fixture
def beside(models: Path, tmp_path: Path) -> list[Path]:
    """The folder of the tiny network, and one with a copy of it that has a style more."""
    folders = [tmp_path / "models", tmp_path / "mine"]
    for folder in folders:
        shutil.copytree(models, folder)
    add_style(folders[1] / "tiny", "fresh")
    return folders


def test_the_styles_of_several_folders_are_listed_in_their_order(
    models: Path, tmp_path: Path
) -> None:
    make_folder(tmp_path / "second", "second", ("dark",))
    for folders, expected in (
        ([models, tmp_path], ["cold", "plain", "warm", "dark"]),
        ([tmp_path, models], ["dark", "cold", "plain", "warm"]),
    ):
        gallery = Gallery(folders, ON_CPU)
        assert [entry.style.id for entry in gallery.entries()] == expected
        assert not gallery.problems
        with pytest.raises(BadOption, match="these belong to second, tiny"):
            gallery.brush("dark,cold")


def test_copies_of_a_network_are_loaded_once_and_their_styles_can_be_blended(
    beside: list[Path],
) -> None:
    gallery = Gallery(beside, ON_CPU)
    assert len(gallery.networks) == 1
    assert not gallery.problems
    assert ids(gallery) == ["cold", "fresh", "plain", "warm"]
    warm = gallery.find("warm")[1].vector
    assert np.allclose(gallery.brush("warm,fresh").vector, (warm + 0.5) / 2, atol=1e-6)
    assert {path: len(served.styles) for path, served in gallery.folders.items()} == {
        beside[0] / "tiny": 3,
        beside[1] / "tiny": 4,
    }


@pytest.mark.parametrize("bold", [False, True])
def test_different_styles_of_one_id_are_an_error_that_names_both_folders(
    beside: list[Path], bold: bool
) -> None:
    vector = read_folder(beside[0] / "tiny").styles["warm"].vector
    changed = (vector, vector + 1) if bold else (vector + 1, None)
    write_style(beside[1] / "tiny", "warm", changed[0], StyleCard(title="Warm"), changed[1])
    with pytest.raises(ModelFolderError, match=r"models/tiny and .*mine/tiny have .* id 'warm'"):
        Gallery(beside, ON_CPU)


def test_an_id_in_two_networks_is_an_error_that_names_both_folders(
    models: Path, tmp_path: Path
) -> None:
    make_folder(tmp_path / "second", "second", ("dark", "warm"))
    with pytest.raises(
        ModelFolderError, match=r"tiny and .*second have different styles .* 'warm'"
    ):
        Gallery([models, tmp_path], ON_CPU)


def test_a_folder_without_models_is_a_problem_and_the_others_are_served(
    models: Path, tmp_path: Path
) -> None:
    gallery = Gallery([models, tmp_path], ON_CPU)
    assert ids(gallery) == ["cold", "plain", "warm"]
    assert gallery.problems == [f"no */network.json in {tmp_path}"]
    with pytest.raises(ModelFolderError, match="tiny, which is a model folder: name the folder"):
        load(models / "tiny")


def test_a_shared_network_is_loaded_again_when_its_first_folder_is_removed(
    beside: list[Path],
) -> None:
    before = Gallery(beside, ON_CPU)
    assert Gallery(beside, ON_CPU, previous=before).networks == before.networks
    shutil.rmtree(beside[0] / "tiny")
    after = Gallery(beside, ON_CPU, previous=before)
    (network,) = after.networks
    assert network is not before.networks[0]
    network.rebuild()
    assert ids(after) == ["cold", "fresh", "plain", "warm"]


def test_a_network_is_shared_when_a_copy_of_it_comes_first(beside: list[Path]) -> None:
    before = Gallery(beside[1:], ON_CPU)
    after = Gallery(beside, ON_CPU, previous=before)
    assert len(after.networks) == 1
    assert after.networks[0].folder.path == beside[0] / "tiny"
    after.brush("cold,fresh")


def test_a_shared_network_stays_with_the_copies_when_its_first_folder_changes(
    beside: list[Path], other: Path
) -> None:
    before = Gallery(beside, ON_CPU)
    for style in ("cold", "plain", "warm"):
        (beside[1] / "tiny" / "styles" / f"{style}.safetensors").unlink()
    replace_folder(beside[0] / "tiny", other)
    after = Gallery(beside, ON_CPU, previous=before)
    assert len(after.networks) == 2
    for network in after.networks:
        network.rebuild()
    with pytest.raises(BadOption, match="only styles of one network"):
        after.brush("warm,fresh")


def test_copies_of_a_generator_are_loaded_once(texture_models: Path, tmp_path: Path) -> None:
    shutil.copytree(texture_models, tmp_path / "mine")
    folder = tmp_path / "mine" / "tiny"
    vector = read_folder(folder).textures["sand"].vector
    write_texture(folder, "fresh", vector[::-1], StyleCard(title="Fresh"))
    gallery = Gallery([texture_models, tmp_path / "mine"], ON_CPU)
    assert len(gallery.generators) == 1
    assert set(gallery.textures) == {"fresh", "sand", "warm"}
    gallery.texture_brush("fresh,sand")
    again = Gallery([texture_models, tmp_path / "mine"], ON_CPU, previous=gallery)
    assert again.generators == gallery.generators


@pytest.fixture
def generating(texture_models: Path, tmp_path: Path) -> Path:
    shutil.copytree(texture_models, tmp_path / "models")
    return tmp_path / "models"


def texture_of(gallery: Gallery, style: str) -> np.ndarray:
    brush = gallery.texture_brush(style)
    noise = brush.network.noise(4, 4, seed=0)
    made: np.ndarray = brush.network.paint(noise[None], brush.vector[None])[0].astype(int)
    return made


def test_every_style_is_listed_with_what_it_can_do(texture_models: Path) -> None:
    gallery = load(texture_models)
    assert [(entry.style.id, entry.network, entry.capabilities) for entry in gallery.entries()] == [
        ("cold", "tiny", ("stylize",)),
        ("plain", "tiny", ("stylize",)),
        ("warm", "tiny", ("stylize", "generate")),
        ("sand", "tiny", ("generate",)),
    ]
    assert list(gallery.textures) == ["sand", "warm"]
    assert "sand" in gallery
    assert "nope" not in gallery
    with pytest.raises(UnknownStyle, match="nope"):
        gallery.entry("nope")


def test_a_blend_of_textures_is_the_weighted_mean_of_their_vectors(texture_models: Path) -> None:
    gallery = load(texture_models)
    brush = gallery.texture_brush("warm:3, sand:1")
    warm, sand = (gallery.textures[i].vector for i in ("warm", "sand"))
    assert np.allclose(brush.vector, 0.75 * warm + 0.25 * sand, atol=1e-6)
    assert brush.label == "warm:0.75,sand:0.25"
    assert not np.array_equal(warm, gallery.find("warm")[1].vector)


def test_a_style_without_a_generator_is_refused_with_those_that_have_one(
    gallery: Gallery, texture_models: Path
) -> None:
    with pytest.raises(NoGenerator, match="no generator is loaded"):
        gallery.texture_brush("warm")
    able = load(texture_models)
    with pytest.raises(NoGenerator, match="'cold' cannot generate; those that can are sand, warm"):
        able.texture_brush("warm,cold")
    with pytest.raises(UnknownStyle, match="no style 'x'; those that can generate are sand, warm"):
        able.texture_brush("x")


def test_a_generator_is_added_to_a_loaded_network_and_removed(copied: Path) -> None:
    before = load(copied)
    add_generator(copied / "tiny")
    after = load(copied, before)
    assert after.networks == before.networks
    assert set(after.textures) == {"warm", "sand"}
    card = json.loads((copied / "tiny" / CARD).read_text())
    del card["generator"]
    (copied / "tiny" / CARD).write_text(json.dumps(card))
    assert not load(copied, after).textures


def test_a_new_texture_does_not_reload_its_generator(generating: Path) -> None:
    before = load(generating)
    vector = before.textures["sand"].vector
    write_texture(generating / "tiny", "fresh", vector[::-1], StyleCard(title="Fresh"))
    after = load(generating, before)
    assert set(after.textures) == {"fresh", "sand", "warm"}
    assert after.generators == before.generators


def test_a_new_version_of_a_generator_replaces_the_old_one(generating: Path) -> None:
    before = load(generating)
    add_generator(generating / "tiny", seed=1)
    after = load(generating, before)
    assert after.networks == before.networks
    assert after.generators != before.generators
    assert np.abs(texture_of(after, "warm") - texture_of(before, "warm")).mean() > 2


@pytest.mark.parametrize("file", [GENERATOR_GRAPH, GENERATOR_REFERENCE])
def test_the_network_and_the_old_generator_are_served_if_the_new_one_is_damaged(
    generating: Path, file: str
) -> None:
    before = load(generating)
    add_generator(generating / "tiny", seed=1)
    damage(generating / "tiny" / file)
    after = load(generating, before)
    (problem,) = after.new_problems
    assert problem.startswith("tiny: the previous generator is still served: ")
    assert file in problem
    assert after.generators == before.generators
    assert np.array_equal(texture_of(after, "warm"), texture_of(before, "warm"))
    fresh = load(generating)
    assert not fresh.textures
    assert fresh.problems[0].startswith("tiny: the generator is not served: ")
    assert ids(fresh) == ["cold", "plain", "warm"]


def test_a_generator_that_does_not_make_its_reference_is_not_served(generating: Path) -> None:
    folder = generating / "tiny"
    card = json.loads((folder / CARD).read_text())
    content = bytearray((folder / GENERATOR_REFERENCE).read_bytes())
    content[-2000:] = bytes(2000)  # of the texture
    entry = write_graph(folder, GENERATOR_REFERENCE, bytes(content))
    card["generator"]["reference"] = entry.model_dump()
    (folder / CARD).write_text(json.dumps(card))
    (problem,) = load(generating).problems
    assert "generate does not paint the reference" in problem


def test_a_texture_whose_file_is_damaged_is_still_served_and_reported(generating: Path) -> None:
    before = load(generating)
    (generating / "tiny" / "textures" / "sand.safetensors").write_bytes(b"damaged")
    after = load(generating, before)
    assert set(after.textures) == {"sand", "warm"}
    assert "textures/sand.safetensors" in after.new_problems[0]
    assert set(load(generating).textures) == {"warm"}


def test_a_generator_without_a_texture_is_not_served(generating: Path) -> None:
    for file in (generating / "tiny" / "textures").iterdir():
        file.unlink()
    gallery = load(generating)
    assert not gallery.generators
    assert "no styles found" in gallery.problems[0]
