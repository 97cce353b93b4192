import json
from pathlib import Path

import onnx
import pytest
import torch

from app.model_folder import read_folder
from tests.conftest import make_folder, make_recipe
from tests.tools.generated import write_pictures
from training import export
from training.fit.checkpoint import CHECKPOINT, initial_state
from training.graphs import parity


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A second fit after a few steps; the paths of its loss networks are private."""
    for name in ("older", "vgg"):
        changes = {"loss_network": f"/home/somebody/{name}.safetensors"}
        state = initial_state(make_recipe().model_copy(update=changes), torch.device("cpu"))
        if name == "vgg":
            state.start_from(tmp_path / CHECKPOINT)
        state.step, state.seconds = 3, 12.6
        state.save(tmp_path)
    return tmp_path / CHECKPOINT


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "photos", 2)[0].parent


def test_the_card_of_an_exported_folder_records_the_fit(
    tmp_path: Path,
    checkpoint: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parity, "SHAPES", ((16, 16), (41, 26)))  # the default shapes take seconds
    folder, sample = tmp_path / "models" / "tiny", photos / "0.png"
    arguments = [checkpoint, folder, "--photos", photos, "--sample", sample, "--data", "clouds"]
    assert export.main([str(argument) for argument in arguments]) == 0
    assert "exported tiny, layout johnson; its graphs match PyTorch" in capsys.readouterr().out

    read = read_folder(folder)
    assert {style.preview is not None for style in read.styles.values()} == {True}
    for name in read.card.graphs:
        onnx.load_from_string(read.graph(name))
    fitted = read.card.fitted
    assert (fitted["steps"], fitted["seconds"], fitted["data"]) == (3, 13, "clouds")
    assert fitted["recipe"]["loss_network"] == "vgg.safetensors"
    (earlier,) = fitted["earlier"]
    assert earlier["recipe"]["loss_network"] == "older.safetensors"
    assert (earlier["steps"], earlier["seconds"]) == (3, 13)
    assert fitted["recipe"]["phases"] == [{"steps": 4, "crop": [32], "batch": 2}]
    assert {"device", "torch", "commit", "exported"} <= fitted.keys()
    text = json.dumps(fitted)
    assert "somebody" not in text
    assert str(tmp_path) not in text


def test_rebuilding_the_graphs_changes_nothing_else(
    tmp_path: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parity, "SHAPES", ((16, 16), (41, 26)))
    folder = make_folder(tmp_path / "tiny", styles=("warm",))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for graph_file in folder.glob("*.onnx"):
        graph_file.write_bytes(b"from an earlier version")
    assert export.main([str(folder), "--photos", str(photos)]) == 0
    assert "rebuilt stylize, stylize.fp16, freeze, apply" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_without_its_weights_a_model_folder_keeps_its_graphs(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "tiny")
    (folder / "weights.safetensors").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert export.main([str(folder), "--photos", str(photos)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "weights.safetensors; training needs" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--sample=photo.jpg", "--data=photographs"])
def test_options_for_checkpoints_are_rejected_with_a_model_folder(
    models: Path, photos: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit):
        export.main([str(models / "tiny"), "--photos", str(photos), option])
    assert "--sample and --data need a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("both", [False, True])
def test_the_command_takes_a_checkpoint_and_a_folder_or_only_a_model_folder(
    models: Path, checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str], both: bool
) -> None:
    sources = [models / "tiny", models / "other"] if both else [checkpoint]
    with pytest.raises(SystemExit):
        export.main([*map(str, sources), "--photos", str(photos)])
    assert "only a model folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no checkpoint", "checkpoint.pt: No such file"),
        ("no weights", "is not a checkpoint"),
        ("half the weights", "checkpoint.pt"),
        ("other weights", "is not a checkpoint"),
        ("no photos", "no photos below"),
        ("no sample", "cannot read the picture"),
    ],
)
def test_an_error_is_one_clear_line(
    tmp_path: Path,
    checkpoint: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    words: str,
) -> None:
    if fault == "no checkpoint":
        checkpoint.unlink()
    elif fault == "no weights":
        checkpoint.write_text("not a checkpoint")
    elif fault == "half the weights":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    elif fault == "other weights":
        torch.save({"weight": torch.zeros(3)}, checkpoint)
    elif fault == "no photos":
        photos = tmp_path / "empty"
        photos.mkdir()
    folder, sample = tmp_path / "tiny", photos / ("9.png" if fault == "no sample" else "0.png")
    arguments = [checkpoint, folder, "--photos", photos, "--sample", sample]
    assert export.main([str(argument) for argument in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not folder.exists()
