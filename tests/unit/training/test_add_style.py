import re
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from app.engine.device import CPU, Device
from app.engine.gallery import Gallery
from app.model_folder import WEIGHTS, Style, StyleCard, read_folder, write_card
from tests.conftest import STYLES
from tests.tools.generated import loss_weights, picture, pixels, planes, write_pictures
from training import add_style, export
from training.export import paint
from training.fit.checkpoint import CHECKPOINT, read_checkpoint, read_network
from training.fit.objective import perceptual_loss
from training.fit.recipe import Recipe
from training.scoring import validate as judge
from training.train import Flatness

TOLD = {
    "loss_network": "somewhere.safetensors",
    "content_layers": {"relu2_1": 1.0},
    "style_layers": {"relu1_1": 1.0, "relu2_1": 1.0},
    "style_weight": 20.0,
    "painting_size": 64,
    "phases": [{"steps": 4000, "crop": 128}],
    "a key of a later version": 1,
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Judge on small crops, on one thread: more get in each other's way on networks this small."""
    monkeypatch.setattr(judge, "SIDE", 48)
    monkeypatch.setattr(export, "SHAPES", ((16, 16), (41, 26)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def place(tmp_path: Path, models: Path) -> Path:
    """All that is needed: a model folder that tells how it was fitted, photos, loss network."""
    network = tmp_path / "models" / "tiny"
    shutil.copytree(models / "tiny", network)
    card = read_folder(network).card
    write_card(network, card.model_copy(update={"fitted": {"recipe": TOLD, "steps": 9}}))
    write_pictures(tmp_path / "photos", 4)
    picture(90, 80, seed=9).save(tmp_path / "New Wave.png")
    save_file(loss_weights(), tmp_path / "loss.safetensors")
    return tmp_path


def arguments(place: Path, *more: str, **paths: str) -> list[str]:
    """Of the command; paths, relative to the place, in place of the usual."""
    usual = {"network": "models/tiny", "photos": "photos", "out": "run"}
    usual |= {"loss-network": "loss.safetensors", "painting": "New Wave.png"}
    named = usual | {name.replace("_", "-"): path for name, path in paths.items()}
    painting = str(place / named.pop("painting"))
    options = [f"--{name}={place / path}" for name, path in named.items()]
    quick = ["--device=cpu", "--workers=0", "--steps=6", "--crop=32", "--batch=2"]
    return [painting, *options, *quick, *more]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def added(place: Path, folder: str = "models/tiny", style_id: str = "new_wave") -> Style:
    return read_folder(place / folder).styles[style_id]


def recipe(place: Path) -> Recipe:
    """What the command fits by."""
    options = Namespace(
        **{"painting": place / "New Wave.png", "title": None, "artist": "", "year": None},
        **{"license": "", "steps": 6, "crop": [32], "batch": 2, "rate": 0.02},
        **{"painting_size": None, "style_weight": None},
        **{"loss_network": str(place / "loss.safetensors")},
    )
    return add_style.style_recipe(options, "new_wave", read_folder(place / "models" / "tiny"))


def test_a_fitted_vector_lowers_the_objective(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = read_folder(place / "models" / "tiny")
    network = read_network(folder)
    loss = perceptual_loss(recipe(place), Path(), torch.device("cpu"))
    crops = planes(6, 48, 48, seed=50)

    def objective(style: Style) -> float:
        vector = torch.from_numpy(style.vector)
        return judge.judge(network, vector, loss, recipe(place), crops)["objective_48"]

    before = min(map(objective, folder.styles.values()))
    more = ["--steps=60", "--batch=4", "--crop", "32", "48"]
    assert add_style.main(arguments(place, *more)) == 0
    assert objective(added(place)) < 0.8 * before

    last = capsys.readouterr().out.splitlines()[-1]
    told = re.search(r"objective_48 (\S+) -> (\S+)$", last)
    assert told
    assert float(told[2]) == added(place).card.quality["objective_48"] < 0.8 * float(told[1])


def test_all_else_in_the_folder_stays_as_it_was(place: Path) -> None:
    before = contents(place / "models")
    assert add_style.main(arguments(place)) == 0
    after = contents(place / "models")
    new = {"tiny/styles/new_wave.safetensors", "tiny/previews/new_wave.jpg"}
    assert after.keys() - before.keys() == new
    assert {name: after[name] for name in before} == before


def test_the_style_tells_of_its_painting_and_how_good_it_is(place: Path) -> None:
    sample = picture(64, 40, seed=30)
    sample.save(place / "sample.png")
    more = ["--artist=A. N. Other", "--year=1901", "--license=CC0-1.0", "--style-weight=15"]
    assert add_style.main(arguments(place, *more, sample="sample.png")) == 0
    style = added(place)
    quality = style.card.quality
    assert style.card == StyleCard(
        title="New Wave",
        artist="A. N. Other",
        year=1901,
        license="CC0-1.0",
        painting_size=64,
        style_weight=15,
        quality=quality,
    )
    assert set(quality) == {"content_48", "style_48", "objective_48"}

    assert style.preview is not None
    folder = read_folder(place / "models" / "tiny")
    network = read_network(folder)
    vectors = {name: torch.from_numpy(s.vector)[None] for name, s in folder.styles.items()}
    with Image.open(style.preview) as preview:
        shown = np.asarray(preview).astype(int)
    far = {
        name: np.abs(shown - paint(network, np.asarray(sample)[None], vector)[0]).mean()
        for name, vector in vectors.items()
    }
    assert min(far, key=lambda name: far[name]) == "new_wave"


def test_the_new_style_is_served_and_paints_differently(place: Path) -> None:
    assert add_style.main(arguments(place)) == 0
    gallery = Gallery(place / "models", Device("cpu", CPU, "float32"), 10_000)
    assert not gallery.problems
    photo = pixels(1, 40, 48, seed=20)
    brushes = [gallery.brush(name) for name in ("new_wave", *STYLES)]
    new, *others = (b.network.paint(photo, b.vector[None]).astype(int) for b in brushes)
    assert min(np.abs(new - other).mean() for other in others) > 2


@pytest.mark.parametrize("painter", [*STYLES, "the mean of all styles"])
def test_the_fit_starts_where_the_painting_is_met_best(place: Path, painter: str) -> None:
    folder = read_folder(place / "models" / "tiny")
    vectors = {i: torch.from_numpy(style.vector) for i, style in folder.styles.items()}
    vectors["the mean of all styles"] = torch.stack(list(vectors.values())).mean(0)
    network = read_network(folder)
    painted = paint(network, pixels(1, 64, 64), vectors[painter][None])[0]
    Image.fromarray(painted).save(place / "New Wave.png")
    style_alone = recipe(place).model_copy(update={"content_weight": 0})
    loss = perceptual_loss(style_alone, Path(), torch.device("cpu"))
    assert judge.nearest(network, vectors, loss, style_alone, planes(1, 64, 64)) == painter


def test_a_stopped_fit_resumes_to_the_same_vector(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "models", place / "whole" / "models")
    whole_folder = "whole/models/tiny"
    assert add_style.main(arguments(place, network=whole_folder, out="whole/run")) == 0
    whole = added(place, whole_folder).vector
    real, calls = Flatness.watch, 0

    def press_ctrl_c(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(Flatness, "watch", press_ctrl_c)
    before = contents(place / "models")
    assert add_style.main(arguments(place)) == 130
    assert "run again to resume" in capsys.readouterr().out
    assert contents(place / "models") == before
    stopped = read_checkpoint(place / "run" / CHECKPOINT)
    assert stopped["step"] == 3

    assert not np.array_equal(stopped["gallery"]["styles"][0], whole)  # control
    assert add_style.main(arguments(place)) == 0
    assert np.array_equal(added(place).vector, whole)
    assert calls == 4 + 3
    assert not (place / "run" / CHECKPOINT).exists()


def test_a_fit_on_other_weights_is_not_resumed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Flatness, "watch", stop)
        assert add_style.main(arguments(place)) == 130
    weights = load_file(place / "models" / "tiny" / WEIGHTS)
    changed = {name: tensor + 0.01 for name, tensor in weights.items()}
    save_file(changed, place / "models" / "tiny" / WEIGHTS)
    capsys.readouterr()
    assert add_style.main(arguments(place)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt was fitted on another network" in line


def test_the_preview_is_there_before_the_style(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(add_style, "write_style", stop)
    assert add_style.main(arguments(place)) == 130
    names = {path.name for path in (place / "models" / "tiny" / "previews").iterdir()}
    assert names == {f"{style}.jpg" for style in (*STYLES, "new_wave")}
    assert (place / "run" / CHECKPOINT).exists()  # nothing of the fit is lost


def test_a_style_is_replaced_only_by_force(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(place / "models")
    assert add_style.main(arguments(place, "--id=warm")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "tiny has a style warm already; name another --id, or --force to replace it"
    )
    assert contents(place / "models") == before
    assert not (place / "run").exists()
    assert add_style.main(arguments(place, "--id=warm", "--force")) == 0
    assert added(place, style_id="warm").card.title == "New Wave"


def test_a_further_style_is_fitted_as_the_network_was(place: Path) -> None:
    fitted = recipe(place)
    assert fitted.style_weight == 20
    assert fitted.style_layers == {"relu1_1": 1.0, "relu2_1": 1.0}
    assert fitted.painting_size == 64
    assert fitted.variation_weight == Recipe.model_fields["variation_weight"].default
    assert (fitted.width, fitted.residual_blocks, fitted.steps) == (4, 1, 6)


def test_the_whole_network_goes_on_in_a_folder_of_its_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(place / "models")
    more = ["--unfreeze=5", f"--new-network={place / 'models' / 'waves'}"]
    assert add_style.main(arguments(place, *more)) == 0
    after = contents(place / "models")
    assert {name: content for name, content in after.items() if "waves" not in name} == before

    folder = read_folder(place / "models" / "waves")
    assert set(folder.styles) == {"new_wave"}
    style = folder.styles["new_wave"]
    assert style.preview is not None
    assert style.card.quality["objective_48"] > 0
    old, new = (
        read_network(read_folder(place / "models" / name)).state_dict()
        for name in ("tiny", "waves")
    )
    assert {name for name in old if torch.equal(old[name], new[name])} == set()
    moved = max(float((old[name] - new[name]).abs().max()) for name in old)
    assert moved < 0.1  # it went on from there, and did not begin anew
    earlier = [
        (fit["steps"], fit["recipe"]["loss_network"]) for fit in folder.card.fitted["earlier"]
    ]
    assert earlier == [(9, "somewhere.safetensors"), (6, "loss.safetensors")]
    assert folder.card.fitted["steps"] == 5
    assert str(place) not in folder.card.model_dump_json()

    capsys.readouterr()
    assert add_style.main(arguments(place, *more)) == 1
    assert "waves is there already" in capsys.readouterr().err


def test_an_unfrozen_fit_resumes_where_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ["--unfreeze=5", f"--new-network={place / 'models' / 'waves'}"]
    real, calls = Flatness.watch, 0

    def press_ctrl_c(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6 + 3:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(Flatness, "watch", press_ctrl_c)
    assert add_style.main(arguments(place, *more)) == 130
    assert not (place / "models" / "waves").exists()
    assert add_style.main(arguments(place, *more)) == 0
    assert calls == 6 + 3 + 3  # of 6 + 5 steps, and the one that was stopped
    assert read_folder(place / "models" / "waves").card.fitted["steps"] == 5


@pytest.mark.parametrize(
    ("name", "style_id"),
    [
        ("wave.jpg", "wave"),
        ("Café, la nuit (1888).jpg", "cafe_la_nuit_1888"),
        ("_x_.png", "x"),
        ("a" * 80 + ".png", "a" * 64),
        ("神奈川.png", ""),
    ],
)
def test_the_id_comes_from_the_file_name(name: str, style_id: str) -> None:
    assert add_style.id_of(Path("paintings") / name) == style_id


def damage(place: Path, fault: str) -> None:
    network, weights = place / "models" / "tiny", place / "models" / "tiny" / WEIGHTS
    if fault == "no weights":
        weights.unlink()
    elif fault == "damaged weights":
        weights.write_bytes(weights.read_bytes()[:999])
    elif fault == "wider card":
        card = read_folder(network).card
        write_card(network, card.model_copy(update={"width": 8}))
    elif fault == "nan weights":
        nan = {name: tensor * torch.nan for name, tensor in load_file(weights).items()}
        save_file(nan, weights)
    elif fault == "bad recipe":
        card = read_folder(network).card
        told = {"recipe": TOLD | {"style_weight": -1}}
        write_card(network, card.model_copy(update={"fitted": told}))
    picture(10, 10).save(place / "small.png")
    (place / "broken.png").write_bytes(b"no picture")
    for photo in write_pictures(place / "broken", 2):
        photo.write_bytes(b"no picture")
    (place / "empty").mkdir()
    picture(80, 80).save(place / "神奈川.png")


@pytest.mark.parametrize(
    ("fault", "paths", "option", "words"),
    [
        ("", {"painting": "small.png"}, "", "the painting .*small.png is 10x10 .* at least 64"),
        ("", {"painting": "broken.png"}, "", "cannot read the picture .*broken.png"),
        ("", {"painting": "none.png"}, "", "cannot read the picture .*none.png: .*No such file"),
        ("", {"painting": "神奈川.png"}, "", "'' is not a style id: a-z.*--id"),
        ("", {}, "--id=Wave/..", "'Wave/..' is not a style id: a-z"),
        ("", {"photos": "none"}, "", "the photo folder .*none does not exist"),
        ("", {"photos": "empty"}, "", "no photos below .*empty"),
        ("", {"photos": "broken"}, "", "none of the 2 photos can be read; .*broken/"),
        ("", {"sample": "broken.png"}, "", "cannot read the picture .*broken.png"),
        ("", {"network": "models/none"}, "", "none/network.json: No such file"),
        ("", {"network": "empty"}, "", "empty/network.json: No such file"),
        ("no weights", {}, "", "weights.safetensors cannot be read; without it"),
        ("damaged weights", {}, "", "weights.safetensors is not a readable safetensors file"),
        ("wider card", {}, "", "weights.safetensors is not of the network .* width 8 with 1 "),
        ("nan weights", {}, "", "weights.safetensors holds values that are not finite"),
        ("bad recipe", {}, "", "--style-weight: Input should be greater"),
        ("", {"loss_network": "none"}, "", "no loss network '.*none' here; .* --loss-network, or"),
        ("", {"loss_network": "small.png"}, "", "small.png is not a readable safetensors file"),
        ("", {}, "--steps=0", "--steps: Input should be greater"),
        ("", {}, "--crop=33", "--crop: .* multiple of 4"),
        ("", {}, "--rate=nan", "--rate: Input should be"),
        ("", {}, "--painting-size=3", "--painting-size: Input should be"),
        ("", {}, "--unfreeze=5", "--unfreeze and --new-network go together"),
        ("", {"new_network": "waves"}, "", "--unfreeze and --new-network go together"),
        ("", {"new_network": "photos"}, "--unfreeze=5", "photos is there already"),
        ("", {"new_network": "A b"}, "--unfreeze=5", "--new-network: String should match"),
        ("", {"new_network": "waves"}, "--unfreeze=0", "--unfreeze: Input should be greater"),
        ("", {}, "--rate=3e37", r"NaN: .* \(here: --rate, now 3e\+37\)"),
        ("", {}, "--rate=3e37 --steps=1", "the last step has led to NaN"),
    ],
)
def test_the_command_tells_a_fault_in_one_line(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    paths: dict[str, str],
    option: str,
    words: str,
) -> None:
    damage(place, fault)
    before = contents(place / "models")
    assert add_style.main(arguments(place, *option.split(), **paths)) == 1
    *bar, line = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{words}", line)
    assert not bar or "NaN" in words  # what the fit says of its progress
    assert contents(place / "models") == before


def test_the_network_s_own_loss_network_must_be_named_where_it_is_not_here(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [a for a in arguments(place) if not a.startswith("--loss-network")]
    assert add_style.main(given) == 1
    assert capsys.readouterr().err == (
        "error: there is no loss network 'somewhere.safetensors' here; name the file with "
        "--loss-network, or vgg16 or vgg19\n"
    )
