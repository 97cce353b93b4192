import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.engine.devices.device import CPU, CUDA, Device, Session
from app.engine.devices.onnx_runtime import OnnxSession
from app.engine.generator import TILE_SHARE, Generator, _spans
from app.errors import BadOption, BadOutput, ModelFolderError, OutOfMemory
from app.model_folder import GENERATOR_GRAPH, read_folder
from tests.tools.textures import STRIDE

ON_CPU = Device("cpu", CPU, "float32", 1)


@pytest.fixture(scope="module")
def generator(texture_models: Path) -> Generator:
    return Generator(read_folder(texture_models / "tiny"), ON_CPU)


@pytest.fixture
def folder(texture_models: Path, tmp_path: Path) -> Path:
    """A copy of the model folder, which the test may change."""
    return shutil.copytree(texture_models / "tiny", tmp_path / "tiny")


def texture(
    generator: Generator, width: int, height: int, seed: int = 0, tileable: bool = False
) -> np.ndarray:
    cells = generator.cells(width, height, tileable)
    noise = generator.noise(*cells, seed, tileable=tileable)
    style = generator.folder.textures["warm"].vector
    made: np.ndarray = generator.paint(noise[None], style[None])[0].astype(int)
    return made


def test_a_texture_covers_the_size_in_whole_cells(generator: Generator) -> None:
    assert texture(generator, 30, 17).shape == (24, 32, 3)
    assert texture(generator, 32, 16).shape == (16, 32, 3)
    noise = generator.noise(*generator.cells(30, 17), seed=0)
    assert generator.pixels(noise) == 24 * 32


def test_the_seed_alone_decides_the_texture(generator: Generator, texture_models: Path) -> None:
    first = texture(generator, 96, 80, seed=5)
    again = Generator(read_folder(texture_models / "tiny"), ON_CPU)
    assert np.array_equal(texture(again, 96, 80, seed=5), first)
    assert np.abs(texture(generator, 96, 80, seed=6) - first).mean() > 5


@pytest.mark.parametrize(("width", "height"), [(200, 160), (24, 400), (136, 136)])
def test_tiles_equal_one_pass(generator: Generator, width: int, height: int) -> None:
    tiled = Generator(generator.folder, ON_CPU, tile_pixels=TILE_SHARE * 5000)
    noise = generator.noise(*generator.cells(width, height), seed=1)[None]
    style = generator.folder.textures["sand"].vector[None]
    runs: list[tuple[int, ...]] = []
    session = tiled._session
    assert session is not None
    run = session.run

    class Recording:
        def run(self, **inputs: np.ndarray) -> np.ndarray:
            made = run(**inputs)
            runs.append(made.shape)
            return made

    tiled._session = Recording()
    assert np.array_equal(tiled.paint(noise, style), generator.paint(noise, style))
    assert len(runs) > 1
    assert all(h * w <= 5000 for _, h, w, _ in runs)


def test_a_tileable_texture_continues_at_its_opposite_edge(generator: Generator) -> None:
    # The texture of the same noise, three times as high and wide, repeats it exactly.
    once = texture(generator, 96, 64, seed=2, tileable=True)
    margin = generator.card.margin
    noise = generator.noise(*generator.cells(96, 64, True), seed=2, tileable=True)
    period = noise[:, :-margin, :-margin]
    wide = np.pad(np.tile(period, (1, 3, 3)), ((0, 0), (0, margin), (0, margin)), mode="wrap")
    style = generator.folder.textures["warm"].vector
    assert np.array_equal(generator.paint(wide[None], style[None])[0], np.tile(once, (3, 3, 1)))


def test_the_edges_of_a_tileable_texture_are_as_smooth_as_its_inside(generator: Generator) -> None:
    for tileable, seamless in ((True, True), (False, False)):
        made = texture(generator, 160, 160, seed=4, tileable=tileable)
        for axis in (0, 1):
            inside = np.abs(np.diff(made, axis=axis)).mean()
            first, last = np.take(made, 0, axis), np.take(made, -1, axis)
            assert (np.abs(first - last).mean() < 1.5 * inside) == seamless


def test_a_tileable_texture_needs_whole_cells_and_the_error_names_the_nearest_sizes(
    generator: Generator,
) -> None:
    assert generator.cells(100, 60) == (8, 13)
    with pytest.raises(BadOption, match=r"width: .* of 8; nearest to 100: 96 and 104$"):
        generator.cells(100, 64, tileable=True)
    with pytest.raises(BadOption, match=r"^width: .*: 16 and 24; height: .* to 5: 8$"):
        generator.cells(17, 5, tileable=True)


def test_a_blend_lies_between_its_textures(generator: Generator) -> None:
    noise = generator.noise(6, 6, seed=0)[None]
    warm, sand = (generator.folder.textures[i].vector for i in ("warm", "sand"))
    made = [
        generator.paint(noise, vector[None])[0].astype(int)
        for vector in (warm, 0.5 * warm + 0.5 * sand, sand)
    ]
    apart = np.abs(made[0] - made[2]).mean()
    assert all(0 < np.abs(made[1] - end).mean() < apart for end in (made[0], made[2]))


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_each_texture_of_a_batch_is_that_of_its_own_request(
    texture_models: Path, provider: str
) -> None:
    shapes: list[tuple[int, ...]] = []

    class Recording(OnnxSession):
        def run(self, **inputs: np.ndarray) -> np.ndarray:
            shapes.append(inputs["noise"].shape)
            return super().run(**inputs)

    generator = Generator(
        read_folder(texture_models / "tiny"),
        Device("cpu", provider, "float32", 1),
        open_session=lambda graph, _, name: Recording(graph, ON_CPU, name),
    )
    vectors = np.stack([style.vector for style in generator.folder.textures.values()])
    noise = np.stack([generator.noise(6, 7, seed) for seed in (0, 1)])
    both = generator.paint(noise, vectors)
    assert [shape[0] for shape in shapes] == ([1, 1] if provider == CPU else [2])
    for i in (0, 1):
        assert np.array_equal(both[i], generator.paint(noise[i : i + 1], vectors[i : i + 1])[0])


def test_non_finite_numbers_are_an_invalid_texture(generator: Generator) -> None:
    style = generator.folder.textures["warm"].vector.copy()
    style[0] = np.nan
    noise = generator.noise(*generator.cells(72, 72), seed=0)[None]
    with pytest.raises(BadOutput, match="single value"):
        generator.paint(noise, style[None])
    good = generator.folder.textures["warm"].vector
    sources = np.concatenate([noise, noise])
    painted = generator.paint(sources, np.stack([good, style]))
    assert generator.valid(sources, painted) == [True, False]


def test_only_a_very_small_texture_may_have_a_single_value(generator: Generator) -> None:
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    assert generator.valid(np.zeros(1, np.float32), white) == [True]
    assert generator.valid(np.zeros(1, np.float32), np.repeat(white, 2, axis=1)) == [False]


def test_the_reference_is_checked(generator: Generator) -> None:
    reference = generator.folder.generator_reference()
    assert reference is not None
    generator.warm_up()
    generator.check(reference)
    other = np.roll(reference.texture, 3, axis=1)
    with pytest.raises(ModelFolderError, match="generate does not paint the reference"):
        generator.check(replace(reference, texture=other))


def test_a_folder_without_a_generator_is_refused(models: Path) -> None:
    with pytest.raises(ModelFolderError, match="no generator"):
        Generator(read_folder(models / "tiny"), ON_CPU)


def test_an_output_of_another_shape_is_invalid(generator: Generator) -> None:
    wrong = Generator(generator.folder, ON_CPU)
    wrong.card = wrong.card.model_copy(update={"stride": 2 * STRIDE})
    with pytest.raises(BadOutput, match=r"uint8 \[1, 128, .* instead of uint8 \[1, 256, 256, 3\]"):
        wrong._run(generator.noise(16, 16, seed=0)[None], np.zeros((1, 52), np.float32))


def test_a_rebuild_from_a_changed_file_fails_and_keeps_the_session(folder: Path) -> None:
    generator = Generator(read_folder(folder), ON_CPU)
    (folder / GENERATOR_GRAPH).write_bytes(b"something else")
    with pytest.raises(ModelFolderError, match="sha256"):
        generator.rebuild()
    generator.warm_up()


def test_without_memory_for_a_rebuild_it_cannot_generate_until_one_succeeds(
    texture_models: Path,
) -> None:
    full = False

    def open_session(graph: bytes, device: Device, name: str) -> Session:
        if full:
            assert rebuilt._session is None  # released before a new one is opened
            raise OutOfMemory("full")
        return OnnxSession(graph, device, name)

    rebuilt = Generator(read_folder(texture_models / "tiny"), ON_CPU, open_session=open_session)
    full = True
    with pytest.raises(OutOfMemory, match="full"):
        rebuilt.rebuild()
    with pytest.raises(OutOfMemory):
        rebuilt.warm_up()
    full = False
    rebuilt.rebuild()
    rebuilt.warm_up()


@pytest.mark.parametrize(("cells", "side"), [(1, 4), (12, 5), (125, 40), (41, 40)])
def test_spans_cover_all_cells(cells: int, side: int) -> None:
    spans = _spans(cells, side)
    assert (spans[0][0], spans[-1][1]) == (0, cells)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(0 < stop - start <= side for start, stop in spans)
