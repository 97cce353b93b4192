import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from training.fit.network import TransformNetwork

from app.model_folder import read_folder
from tests.conftest import STYLES, make_folder, make_gallery, make_recipe
from tests.tools.generated import picture, pixels, write_pictures
from training import export
from training.fit.checkpoint import CHECKPOINT, start
from training.graphs import transform as graph


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A second fit that has not gone far; the loss networks lie somewhere private."""
    for name in ("older", "vgg"):
        changes = {"loss_network": f"/home/somebody/{name}.safetensors"}
        run = start(make_recipe().model_copy(update=changes), torch.device("cpu"))
        if name == "vgg":
            run.start_from(tmp_path / CHECKPOINT)
        run.step, run.seconds = 3, 12.6
        run.save(tmp_path)
    return tmp_path / CHECKPOINT


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "photos", 2)[0].parent


def test_a_folder_holds_every_style_with_its_preview(models: Path) -> None:
    folder = read_folder(models / "tiny")
    assert set(folder.styles) == set(STYLES)
    assert not folder.problems
    assert folder.card.tile_margin == export.tile_margin(1)
    for style in folder.styles.values():
        assert style.card.title == style.id.title()
        assert style.card.painting_size == make_recipe().painting_size
        assert style.preview is not None
        with Image.open(style.preview) as preview:
            assert preview.size == (60, 40)


def test_the_parts_of_a_folder_belong_together(models: Path) -> None:
    folder, gallery = read_folder(models / "tiny"), make_gallery(make_recipe())
    network = TransformNetwork(folder.card.width, folder.card.residual_blocks)
    network.load_state_dict(load_file(models / "tiny" / "weights.safetensors"))
    session = ort.InferenceSession(folder.graph("stylize"), providers=["CPUExecutionProvider"])
    image = pixels(1, 32, 40)
    for index, style in enumerate(make_recipe().styles):
        vector = folder.styles[style.id].vector[None]
        (painted,) = session.run(None, {"image": image, "style": vector})
        for expected in (
            export.paint(network, image, torch.from_numpy(vector)),
            export.paint(gallery.network, image, gallery.styles[index : index + 1]),
        ):
            assert np.abs(np.asarray(painted).astype(int) - expected).max() <= 1


def test_previews_are_made_small(tmp_path: Path) -> None:
    gallery, sample = make_gallery(make_recipe()), picture(800, 400)
    export.write_preview(tmp_path, "warm", gallery.network, gallery.styles[0], sample)
    with Image.open(tmp_path / "previews" / "warm.jpg") as preview:
        assert preview.size == (512, 256)


@pytest.mark.parametrize(("blocks", "margin"), [(1, 28), (2, 36), (5, 60)])
def test_the_tile_margin_covers_all_that_a_pixel_depends_on(blocks: int, margin: int) -> None:
    # 4 + 1 + 2 + 8 for each block + 2 + 1 + 4, and 3 within a stride: to whole strides
    assert export.tile_margin(blocks) == margin


@pytest.mark.parametrize("broken", ["stylize", "stylize.fp16", "freeze", "apply"])
def test_a_graph_that_differs_is_named_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def build(network: TransformNetwork, kind: graph.Kind, *, half: bool = False) -> Any:
        name = "stylize.fp16" if half else kind
        other = make_gallery(make_recipe(), seed=1).network
        return graph.build_graph(other if name == broken else network, kind, half=half)

    monkeypatch.setattr(export, "build_graph", build)
    photos = [pixels(1, 20, 36)[0]]
    named = "apply" if broken == "freeze" else broken  # statistics show where they are applied
    with pytest.raises(export.ParityError, match=rf"^{named}: on a photo of 36x20 only \d.*most"):
        export.export(make_gallery(make_recipe()), make_recipe(), tmp_path / "tiny", photos, {})
    assert not (tmp_path / "tiny").exists()


def test_a_slip_in_one_constant_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "EPSILON", 1e-2)
    with pytest.raises(export.ParityError, match="stylize: on a photo of 48x33"):
        export.export(
            make_gallery(make_recipe()), make_recipe(), tmp_path, [*pixels(1, 33, 48)], {}
        )
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_folder_that_says_how_it_was_fitted(
    tmp_path: Path,
    checkpoint: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "SHAPES", ((16, 16), (41, 26)))  # the real ones take seconds
    folder, sample = tmp_path / "models" / "tiny", photos / "0.png"
    arguments = [checkpoint, folder, "--photos", photos, "--sample", sample, "--data", "clouds"]
    assert export.main([str(argument) for argument in arguments]) == 0
    assert "3 styles, width 4, parity checked" in capsys.readouterr().out

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


def test_without_a_sample_there_are_no_previews(tmp_path: Path) -> None:
    gallery, recipe = make_gallery(make_recipe()), make_recipe()
    export.export(gallery, recipe, tmp_path, [*pixels(1, 16, 16)], {})
    assert {style.preview for style in read_folder(tmp_path).styles.values()} == {None}


def test_the_graphs_of_a_model_folder_are_written_anew_and_nothing_else(
    tmp_path: Path,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "SHAPES", ((16, 16), (41, 26)))
    folder = make_folder(tmp_path / "tiny", styles=("warm",))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for graph_file in folder.glob("*.onnx"):
        graph_file.write_bytes(b"of an earlier version")
    assert export.main([str(folder), "--photos", str(photos)]) == 0
    assert "stylize, stylize.fp16, freeze, apply written anew" in capsys.readouterr().out
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
    assert "weights.safetensors cannot be read" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--sample=photo.jpg", "--data=photographs"])
def test_what_only_a_checkpoint_takes_is_refused_with_a_model_folder(
    models: Path, photos: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit):
        export.main([str(models / "tiny"), "--photos", str(photos), option])
    assert "--sample and --data are for a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("both", [False, True])
def test_the_command_wants_a_checkpoint_and_a_folder_or_a_model_folder_alone(
    models: Path, checkpoint: Path, photos: Path, capsys: pytest.CaptureFixture[str], both: bool
) -> None:
    sources = [models / "tiny", models / "other"] if both else [checkpoint]
    with pytest.raises(SystemExit):
        export.main([*map(str, sources), "--photos", str(photos)])
    assert "a model folder alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no checkpoint", "checkpoint.pt: No such file"),
        ("no weights", "is not the checkpoint of a fit"),
        ("half the weights", "checkpoint.pt"),
        ("other weights", "is not the checkpoint of a fit"),
        ("no photos", "no photos below"),
        ("no sample", "cannot read the picture"),
    ],
)
def test_the_command_tells_a_fault_in_one_line(
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
        checkpoint.write_text("nothing of the kind")
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
