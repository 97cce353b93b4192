import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from app.errors import ModelFolderError
from app.model_folder import (
    CARD,
    GENERATOR_GRAPH,
    GENERATOR_REFERENCE,
    REFERENCE,
    Card,
    GraphFile,
    StyleCard,
    StyleId,
    model_folders,
    pattern,
    read_folder,
    read_style,
    write_atomically,
    write_card,
    write_generator,
    write_generator_reference,
    write_graph,
    write_reference,
    write_style,
    write_texture,
)
from tests.conftest import STYLES
from tests.tools.textures import TEXTURES, add_generator

STARRY = StyleCard(
    title="Starry Night", artist="Vincent van Gogh", year=1889, license="PD", quality={"ssim": 0.5}
)
VECTOR = np.linspace(-1, 1, 10, dtype=np.float32)


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A copy of the model folder that the test may change."""
    return shutil.copytree(models / "tiny", tmp_path / "tiny")


def card_of(folder: Path) -> Card:
    return read_folder(folder).card


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, **changes}))


def style_file(dtype: str, content: bytes, name: str = "style", **metadata: str) -> bytes:
    """A safetensors file: the length of the header, the header, the numbers."""
    size = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}[dtype]
    tensor = {
        "dtype": dtype,
        "shape": [len(content) // size],
        "data_offsets": [0, len(content)],
    }
    header = json.dumps({name: tensor, "__metadata__": {"title": '"A"', **metadata}}).encode()
    return struct.pack("<Q", len(header)) + header + content


def test_a_style_is_read_back_as_written(tmp_path: Path) -> None:
    path = write_style(tmp_path, "starry_night", VECTOR, STARRY)
    assert path == tmp_path / "styles" / "starry_night.safetensors"
    style = read_style(path, 10)
    assert (style.id, style.card, style.preview) == ("starry_night", STARRY, None)
    assert style.vector.dtype == np.float32
    assert np.array_equal(style.vector, VECTOR)


def test_a_style_is_written_from_a_view_of_an_array(tmp_path: Path) -> None:
    path = write_style(tmp_path, "a", VECTOR[::2], StyleCard(title="A"))
    assert np.array_equal(read_style(path, 5).vector, VECTOR[::2])


def test_a_folder_is_read_with_its_card_styles_previews_and_graphs(models: Path) -> None:
    found = read_folder(models / "tiny")
    assert (found.card.name, found.card.layout["width"], found.problems) == ("tiny", 4, {})
    assert list(found.styles) == sorted(STYLES)
    for name, style in found.styles.items():
        assert (style.id, style.card.title) == (name, name.title())
        assert style.vector.shape == (found.card.style_dimension,)
        assert style.preview == models / "tiny" / "previews" / f"{name}.jpg"
    assert set(found.card.graphs) == {"stylize", "stylize.fp16", "freeze", "apply"}
    for graph, entry in found.card.graphs.items():
        assert found.graph(graph) == (models / "tiny" / entry.file).read_bytes()


def test_a_card_is_read_back_as_written(folder: Path) -> None:
    card = card_of(folder).model_copy(update={"fitted": {"steps": 7, "data": ["a", "b"]}})
    write_card(folder, card)
    assert card_of(folder) == card


def test_a_graph_is_read_back_as_written(folder: Path) -> None:
    entry = write_graph(folder, "new.onnx", b"a graph")
    change_card(folder, graphs={"stylize": entry.model_dump()})
    assert read_folder(folder).graph("stylize") == b"a graph"


def test_models_are_the_folders_with_a_card_whose_names_do_not_start_with_a_dot(
    folder: Path,
) -> None:
    shutil.copytree(folder, folder.parent / ".hidden")
    (folder.parent / "empty").mkdir()
    shutil.copytree(folder, folder.parent / "second")
    assert model_folders(folder.parent) == [folder.parent / "second", folder]
    assert model_folders(folder.parent / "nowhere") == []


def test_a_file_is_written_with_its_folder_and_the_mode_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"content")
    (tmp_path / "any").touch()
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_readers_of_a_file_that_is_being_replaced_keep_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new content")
        assert reader.read() == b"old"


def test_writing_leaves_no_partial_files(folder: Path) -> None:
    before = {path.name for path in folder.rglob("*")}
    dimension = card_of(folder).style_dimension
    write_style(folder, "warm", np.zeros(dimension, np.float32), STARRY)
    write_card(folder, card_of(folder))
    assert {path.name for path in folder.rglob("*")} == before
    assert not read_folder(folder).styles["warm"].vector.any()


def test_a_failed_write_leaves_the_old_file(folder: Path) -> None:
    (folder / "styles" / "warm.safetensors.partial").mkdir()
    (folder / f"{CARD}.partial").mkdir()
    before = read_folder(folder)
    with pytest.raises(IsADirectoryError):
        write_style(folder, "warm", VECTOR, STARRY)
    with pytest.raises(IsADirectoryError):
        write_card(folder, before.card.model_copy(update={"stride": 8}))
    after = read_folder(folder)
    assert after.card == before.card
    assert np.array_equal(after.styles["warm"].vector, before.styles["warm"].vector)


def test_a_partial_file_is_not_read_as_a_style(folder: Path) -> None:
    (folder / "styles" / "new.safetensors.partial").write_bytes(b"half")
    found = read_folder(folder)
    assert (list(found.styles), found.problems) == (sorted(STYLES), {})


def no_card(folder: Path) -> None:
    (folder / CARD).unlink()


def card_of_text(text: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / CARD).write_bytes(text)


def card_with(**changes: object) -> Callable[[Path], object]:
    return lambda folder: change_card(folder, **changes)


SHA = "0" * 64


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_card, "No such file"),
        (card_of_text(b""), "the whole file: Invalid JSON"),
        (card_of_text(b"{"), "the whole file: Invalid JSON"),
        (card_of_text(b"\xff\xfe"), "the whole file: Invalid JSON"),
        (card_of_text(b"[]"), "the whole file: Input should be an object"),
        (card_of_text(b"{}"), "name: Field required"),
        (card_with(schema_version=3), "schema_version: Input should be 1 or 2"),
        (card_with(stride="wide"), "stride: .*integer"),
        (card_with(stride=0), "stride: .*greater than or equal to 1"),
        (card_with(style_dimension=None), "style_dimension: .*integer"),
        (card_with(name="../tiny"), "name: .*pattern"),
        (card_with(future=1), "future: Extra inputs"),
        (card_with(graphs=[]), "graphs: .*object"),
        (card_with(graphs={"paint": {"file": "a", "sha256": SHA}}), "graphs.paint"),
        (card_with(graphs={"apply": {"file": "a", "sha256": "0"}}), "graphs.apply.sha256"),
        (card_with(graphs={"apply": {"file": "../a", "sha256": SHA}}), "graphs.apply.file"),
    ],
)
def test_a_damaged_card_is_reported_with_file_and_field(
    folder: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=rf"tiny/network\.json: {says}"):
        read_folder(folder)


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"nothing/network\.json: No such file"):
        read_folder(tmp_path / "nothing")


def numbers(values: Any) -> bytes:
    return np.asarray(values, np.float32).tobytes()


ONES = numbers(np.ones(10))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a style file"),
        (b"not a style", "not a style file"),
        (style_file("F32", ONES)[:-1], "not a style file"),
        (style_file("F32", ONES)[:20], "not a style file"),
        (style_file("F32", ONES, name="stile"), "not a style file.*style"),
        (style_file("F32", ONES, title="no JSON"), "not a style file"),
        (style_file("F32", ONES, year='"long ago"'), r"not a style file.*\n.*year"),
        (style_file("F32", ONES, title="null"), r"not a style file.*\n.*title"),
        (style_file("F32", ONES[4:]), r"F32 \[9\]; the network needs F32 \[10\]"),
        (style_file("F32", ONES + ONES), r"F32 \[20\]"),
        (style_file("F64", ONES + ONES), r"F64 \[10\]"),
        (style_file("F16", ONES[:20]), r"F16 \[10\]"),
        (style_file("BF16", ONES[:20]), r"BF16 \[10\]"),
        (style_file("F32", numbers([1] * 9 + [np.nan])), "not finite"),
        (style_file("F32", numbers([-np.inf] + [1] * 9)), "not finite"),
    ],
)
def test_a_damaged_style_is_reported_with_its_file(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFolderError, match=rf"/a\.safetensors: .*{says}"):
        read_style(path, 10)


def test_a_style_with_other_metadata_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(style_file("F32", ONES, format="pt", year="1889", later="[1]"))
    assert read_style(path, 10).card == StyleCard(title="A", year=1889)


def test_a_missing_style_is_reported_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"/a\.safetensors: "):
        read_style(tmp_path / "a.safetensors", 10)


def test_a_damaged_style_is_left_out_and_reported(folder: Path) -> None:
    path = folder / "styles" / "cold.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    found = read_folder(folder)
    assert list(found.styles) == ["plain", "warm"]
    (problem,) = found.problems.values()
    assert str(path) in problem


def test_a_folder_without_intact_styles_is_refused_with_every_problem(folder: Path) -> None:
    for path in (folder / "styles").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ModelFolderError, match=r"cold\.safe.*; .*plain\.safe.*; .*warm\.safe"):
        read_folder(folder)
    shutil.rmtree(folder / "styles")
    with pytest.raises(ModelFolderError, match="tiny/styles: no styles found"):
        read_folder(folder)


def test_a_graph_with_a_flipped_byte_is_refused(folder: Path) -> None:
    path = folder / "stylize.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = read_folder(folder)
    with pytest.raises(ModelFolderError, match=r"tiny/stylize\.onnx: .*sha256"):
        found.graph("stylize")
    assert found.graph("freeze")


def test_a_missing_graph_is_reported(folder: Path) -> None:
    (folder / "freeze.onnx").unlink()
    with pytest.raises(ModelFolderError, match=r"tiny/freeze\.onnx: No such file"):
        read_folder(folder).graph("freeze")
    change_card(folder, graphs={})
    with pytest.raises(ModelFolderError, match=r"network\.json: no graph 'apply'"):
        read_folder(folder).graph("apply")


@pytest.mark.parametrize(
    "file",
    ["", ".", "..", "../a.onnx", "/etc/passwd", "a/b.onnx", "a\\b.onnx", ".a", "a.onnx\n", "a\0"],
)
def test_a_graphs_file_name_cannot_leave_the_folder(file: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        GraphFile(file=file, sha256=SHA)


@pytest.mark.parametrize("style_id", ["a", "0", "starry_night", "9" * 64])
def test_a_style_id_is_lower_case_letters_digits_and_underscores(
    tmp_path: Path, style_id: str
) -> None:
    assert TypeAdapter(StyleId).validate_python(style_id) == style_id
    assert read_style(write_style(tmp_path, style_id, VECTOR, STARRY), 10).id == style_id


@pytest.mark.parametrize(
    "style_id",
    ["", "_a", "A", "a b", "a-b", "a.b", "a,b", "a:1", "é", "a\n", "../a", "a/b", "9" * 65],
)
def test_no_other_name_is_a_style_id(tmp_path: Path, style_id: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(StyleId).validate_python(style_id)
    with pytest.raises(ModelFolderError, match="not a style id"):
        write_style(tmp_path, style_id, VECTOR, STARRY)
    assert not list(tmp_path.iterdir())


def test_a_file_whose_name_is_not_a_style_id_is_left_out_and_reported(folder: Path) -> None:
    shutil.copy(folder / "styles" / "warm.safetensors", folder / "styles" / "a,b.safetensors")
    found = read_folder(folder)
    assert list(found.styles) == sorted(STYLES)
    (problem,) = found.problems.values()
    assert "a,b.safetensors" in problem
    assert "not a style id" in problem


def test_a_reference_is_read_back_as_written(folder: Path) -> None:
    image, style = pattern(20), np.ones((1, card_of(folder).style_dimension), np.float32)
    entry = write_reference(folder, image, style, image[:, ::-1])
    change_card(folder, reference=entry.model_dump())
    found = read_folder(folder).reference()
    assert found is not None
    assert np.array_equal(found.image, image)
    assert np.array_equal(found.style, style)
    assert np.array_equal(found.pastiche, image[:, ::-1])


def test_the_reference_is_optional(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    del card["reference"]
    (folder / CARD).write_text(json.dumps(card))
    assert read_folder(folder).reference() is None


def test_a_reference_with_a_flipped_byte_is_refused(folder: Path) -> None:
    content = bytearray((folder / REFERENCE).read_bytes())
    content[-1] ^= 1
    (folder / REFERENCE).write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"tiny/reference\.safetensors: .*sha256"):
        read_folder(folder).reference()


@pytest.mark.parametrize("wrong", ["image", "style", "pastiche", "no safetensors", "other tensors"])
def test_a_reference_that_does_not_fit_the_network_is_refused(folder: Path, wrong: str) -> None:
    tensors: dict[str, Any] = {
        "image": pattern(16),
        "style": np.zeros((1, card_of(folder).style_dimension), np.float32),
        "pastiche": pattern(16),
    }
    if wrong in tensors:
        tensors[wrong] = tensors[wrong][..., :2]
    entry = write_reference(folder, **tensors)
    if wrong not in tensors:
        content = b"" if wrong == "no safetensors" else style_file("F32", bytes(8))
        entry = write_graph(folder, REFERENCE, content)
    change_card(folder, reference=entry.model_dump())
    with pytest.raises(ModelFolderError, match=r"tiny/reference\.safetensors: "):
        read_folder(folder).reference()


def test_a_reference_of_another_type_is_refused(folder: Path) -> None:
    image: Any = pattern(16).astype(np.float32)
    style = np.zeros((1, card_of(folder).style_dimension), np.float32)
    change_card(folder, reference=write_reference(folder, image, style, image).model_dump())
    with pytest.raises(ModelFolderError, match="do not fit"):
        read_folder(folder).reference()


@pytest.mark.parametrize("side", [1, 16, 48, 300])
def test_the_pattern_varies_at_every_size(side: int) -> None:
    image = pattern(side)
    assert image.shape == (1, side, side, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, pattern(side))
    if side > 1:
        assert image[0].reshape(-1, 3).std(axis=0).min() > 10


def test_cards_that_differ_in_descriptions_paint_the_same(folder: Path) -> None:
    card = card_of(folder)
    assert card.paints_as(card.model_copy(update={"fitted": {"a": 1}, "quality": {"b": 2}}))
    assert not card.paints_as(card.model_copy(update={"tile_margin": 4}))
    entry = card.graphs["apply"].model_copy(update={"sha256": SHA})
    assert not card.paints_as(card.model_copy(update={"graphs": {**card.graphs, "apply": entry}}))


def test_a_card_of_version_1_describes_johnsons_layout(folder: Path) -> None:
    values = json.loads((folder / CARD).read_text())
    del values["layout"], values["stride"]
    values |= {"schema_version": 1, "width": 4, "residual_blocks": 1}
    (folder / CARD).write_text(json.dumps(values))
    card = read_folder(folder).card
    assert card.layout == {"name": "johnson", "width": 4, "residual_blocks": 1}
    assert card.stride == 4


def test_a_style_keeps_its_bold_vector(tmp_path: Path) -> None:
    path = write_style(tmp_path, "a", VECTOR, StyleCard(title="A"), bold=2 * VECTOR)
    style = read_style(path, len(VECTOR))
    assert np.array_equal(style.vector, VECTOR)
    assert style.bold is not None
    assert np.array_equal(style.bold, 2 * VECTOR)
    assert read_style(write_style(tmp_path, "b", VECTOR, StyleCard(title="B")), 10).bold is None


def test_a_bold_vector_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_style(tmp_path, "a", VECTOR, StyleCard(title="A"), bold=VECTOR[:3])
    with pytest.raises(
        ModelFolderError, match=r"'bold' is F32 \[3\]; the network needs F32 \[10\]"
    ):
        read_style(path, len(VECTOR))


def test_a_generator_and_its_textures_are_read_back_as_written(folder: Path) -> None:
    written = add_generator(folder)
    found = read_folder(folder)
    assert found.generator == written
    assert list(found.styles) == sorted(STYLES)
    assert list(found.textures) == sorted(TEXTURES)
    assert found.textures["sand"].card.title == "Sand"
    assert found.textures["sand"].vector.shape == (written.style_dimension,)
    assert found.generator_graph() == (folder / GENERATOR_GRAPH).read_bytes()
    reference = found.generator_reference()
    assert reference is not None
    cells = reference.noise.shape[2:]
    assert reference.noise.shape == (1, written.channels, *cells)
    sides = [written.stride * (side - written.margin) for side in cells]
    assert reference.texture.shape == (1, *sides, 3)
    card = json.loads((folder / CARD).read_text())
    assert card["generator"]["global"] == 1  # under the name of the format, not Python's


def test_a_generator_is_optional(folder: Path) -> None:
    found = read_folder(folder)
    assert found.generator is None
    assert not found.textures
    assert found.generator_reference() is None
    with pytest.raises(ModelFolderError, match="no generator"):
        found.generator_graph()
    add_generator(folder)
    card = read_folder(folder).card
    assert card.paints_as(found.card)
    assert card.generator is not None
    described = card.generator.model_copy(update={"quality": {"a": 1}})
    assert card.generator.generates_as(described)
    assert not card.generator.generates_as(described.model_copy(update={"margin": 5}))


def test_a_damaged_texture_is_left_out_and_reported(folder: Path) -> None:
    add_generator(folder)
    write_texture(folder, "short", VECTOR, StyleCard(title="Short"))
    (folder / "textures" / "sand.safetensors").write_bytes(b"damaged")
    found = read_folder(folder)
    assert list(found.textures) == ["warm"]
    assert list(found.texture_problems) == ["sand", "short"]
    assert "textures/short.safetensors" in found.texture_problems["short"]
    assert not found.problems


@pytest.mark.parametrize("file", [GENERATOR_GRAPH, GENERATOR_REFERENCE])
def test_a_file_of_a_generator_with_a_flipped_byte_is_refused(folder: Path, file: str) -> None:
    add_generator(folder)
    content = bytearray((folder / file).read_bytes())
    content[-1] ^= 1
    (folder / file).write_bytes(content)
    found = read_folder(folder)
    with pytest.raises(ModelFolderError, match=rf"tiny/{file}: .*sha256"):
        (found.generator_graph if file == GENERATOR_GRAPH else found.generator_reference)()


@pytest.mark.parametrize("wrong", ["noise", "style", "texture", "no safetensors"])
def test_a_reference_that_does_not_fit_the_generator_is_refused(folder: Path, wrong: str) -> None:
    card = add_generator(folder)
    reference = read_folder(folder).generator_reference()
    assert reference is not None
    tensors: dict[str, Any] = vars(reference).copy()
    if wrong in tensors:
        tensors[wrong] = tensors[wrong][:, 1:]
    entry = write_generator_reference(folder, **tensors)
    if wrong == "no safetensors":
        entry = write_graph(folder, GENERATOR_REFERENCE, b"")
    write_generator(folder, card.model_copy(update={"reference": entry}))
    with pytest.raises(ModelFolderError, match=r"tiny/generate\.reference\.safetensors: "):
        read_folder(folder).generator_reference()


@pytest.mark.parametrize(
    ("key", "value"),
    [("local", 0), ("global", -1), ("stride", 0), ("margin", -1), ("waves", [[1, 2]]), ("new", 1)],
)
def test_an_invalid_card_of_a_generator_is_refused_with_its_key(
    folder: Path, key: str, value: object
) -> None:
    add_generator(folder)
    card = json.loads((folder / CARD).read_text())
    change_card(folder, generator={**card["generator"], key: value})
    with pytest.raises(ModelFolderError, match=rf"generator\.{key}"):
        read_folder(folder)
