import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from app.engine.noise import noise_map
from app.model_folder import read_folder
from tests.tools.fits import texture_recipe
from tests.tools.tiny import tiny_generator
from training import export_texture
from training.fit.checkpoint import CHECKPOINT
from training.fit.texture.checkpoint import initial_texture_state
from training.graphs import texture_parity
from training.graphs.generate import generate_graph
from training.graphs.texture_parity import generate


@pytest.fixture
def place(texture_place: Path, models: Path) -> Path:
    """The fixture `texture_place` with a model folder, and a checkpoint of random weights."""
    shutil.copytree(models / "tiny", texture_place / "models" / "tiny")
    recipe = texture_recipe(texture_place, "local_noise=1", "waves=[[0.1, 0.2, 0]]")
    state = initial_texture_state(recipe, torch.device("cpu"))
    state.average.model.load_state_dict(tiny_generator().state_dict())
    state.step, state.seconds = 3, 12.6
    state.save(texture_place)
    return texture_place


def export(place: Path) -> int:
    folder = place / "models" / "tiny"
    return export_texture.main([str(place / CHECKPOINT), str(folder), "--data", "clouds"])


def texture(
    session: ort.InferenceSession, noise: NDArray[np.float32], style: torch.Tensor
) -> NDArray[np.uint8]:
    (made,) = session.run(None, {"noise": noise[None], "style": style[None].numpy()})
    return np.asarray(made)


def test_the_exported_graph_generates_what_pytorch_generates(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_folder(place / "models" / "tiny")
    assert export(place) == 0
    assert "exported a generator of stride 8; its graph matches PyTorch" in capsys.readouterr().out
    folder = read_folder(place / "models" / "tiny")
    assert folder.card.graphs == before.card.graphs
    assert folder.styles.keys() == before.styles.keys()
    card = folder.generator
    assert card is not None
    assert (card.local, card.global_, card.waves) == (1, 1, [(0.1, 0.2, 0.0)])
    assert card.layout == {"widths": [8, 8, 6, 4]}
    assert (card.fitted["steps"], card.fitted["data"]) == (3, "clouds")
    assert card.fitted["recipe"]["loss_network"] == "loss.safetensors"  # no private path
    assert {name: style.card.title for name, style in folder.textures.items()} == {
        "night": "Night",
        "wave": "Wave",
    }
    reference = folder.generator_reference()
    assert reference is not None
    assert reference.texture.std() > 20

    session = ort.InferenceSession(folder.generator_graph(), providers=["CPUExecutionProvider"])
    model = tiny_generator()
    noise = noise_map(5, 4, 6, local=1, global_=1, waves=card.waves, margin=card.margin)
    style = torch.from_numpy(folder.textures["night"].vector)
    assert torch.equal(style, model.styles[1].detach())
    made = texture(session, noise, style)
    expected = generate(model.generator, noise[None], style[None])
    assert made.shape == (1, 32, 48, 3)
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_a_tileable_texture_continues_at_its_opposite_edge(place: Path) -> None:
    assert export(place) == 0
    folder = read_folder(place / "models" / "tiny")
    card = folder.generator
    assert card is not None
    session = ort.InferenceSession(folder.generator_graph(), providers=["CPUExecutionProvider"])
    settings = {"local": 1, "global_": 1, "waves": card.waves, "tileable": True}
    noise = noise_map(5, 4, 5, margin=card.margin, **settings)  # type: ignore[arg-type]
    twice = noise_map(5, 4, 5, margin=card.margin + 5, **settings)[:, : 4 + 4]  # type: ignore[arg-type]
    style = torch.from_numpy(folder.textures["wave"].vector)
    once = texture(session, noise, style)
    assert np.array_equal(texture(session, twice, style), np.concatenate([once, once], axis=2))


def test_exporting_again_replaces_the_textures(place: Path) -> None:
    assert export(place) == 0
    textures = place / "models" / "tiny" / "textures"
    shutil.copy(textures / "wave.safetensors", textures / "older.safetensors")
    assert export(place) == 0
    assert read_folder(place / "models" / "tiny").textures.keys() == {"wave", "night"}


def test_nothing_is_written_when_the_graph_differs(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_generator(seed=1).generator
    monkeypatch.setattr(texture_parity, "generate_graph", lambda _: generate_graph(other))
    before = sorted((place / "models").rglob("*"))
    assert export(place) == 1
    assert "values are within 1 of PyTorch's" in capsys.readouterr().err
    assert sorted((place / "models").rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "folder", "words"),
    [
        ("none.pt", "models/tiny", "cannot read the checkpoint"),
        ("tiny.toml", "models/tiny", "is not a texture checkpoint, or it is damaged"),
        (CHECKPOINT, "models", "network.json: No such file"),
    ],
)
def test_an_error_is_one_clear_line(
    place: Path, capsys: pytest.CaptureFixture[str], source: str, folder: str, words: str
) -> None:
    assert export_texture.main([str(place / source), str(place / folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
