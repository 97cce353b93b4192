import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from app.engine.devices.device import CPU, Device
from app.engine.gallery import Gallery
from app.model_folder import WEIGHTS, Style, StyleCard, read_folder, write_card
from tests.conftest import STYLES
from tests.tools.fits import FITTED, added_recipe
from tests.tools.generated import picture, pixels, planes, write_pictures
from training import add_style
from training.fit.adversarial.game import Game, Play
from training.fit.checkpoint import CHECKPOINT, read_checkpoint
from training.fit.collapse import CollapseDetector
from training.fit.objective import perceptual_loss
from training.fit.validation import validate
from training.fit.weights import load_network
from training.graphs import added_style
from training.graphs.parity import paint

pytestmark = pytest.mark.usefixtures("small")


def arguments(place: Path, *more: str, **paths: str) -> list[str]:
    """Arguments of the command. `paths`, relative to the place, replace the defaults."""
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


def test_a_fitted_vector_lowers_the_objective(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = read_folder(style_place / "models" / "tiny")
    network, recipe = load_network(folder), added_recipe(style_place)
    loss = perceptual_loss(recipe, Path(), torch.device("cpu"))
    crops = planes(6, 48, 48, seed=50)

    def objective(style: Style) -> float:
        vector = torch.from_numpy(style.vector)
        return validate(network, vector, loss, recipe, crops).objective

    before = min(map(objective, folder.styles.values()))
    more = ["--steps=60", "--batch=4", "--crop", "32", "48"]
    assert add_style.main(arguments(style_place, *more)) == 0
    assert objective(added(style_place)) < 0.8 * before

    *_, result, _ = capsys.readouterr().out.splitlines()
    changes = re.search(r"objective_48 (\S+) -> (\S+)$", result)
    assert changes
    assert (
        float(changes[2])
        == added(style_place).card.quality["objective_48"]
        < 0.8 * float(changes[1])
    )


def test_an_adversary_alone_moves_the_vector_towards_its_painting(
    style_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(style_place / "models")
    seen: list[float] = []
    real = Game.play

    def play(*arguments: Any) -> Play:
        found = real(*arguments)
        seen.append(float(found.generator.detach().mean()))
        return found

    monkeypatch.setattr(Game, "play", play)
    more = ["--adversarial", "--style-weight=0", "--steps=30", "--adversarial-loss=cross_entropy"]
    more += ["--adversarial-weight=10", "--discriminator-rate=1e-6", "--discriminator-scales=1"]
    assert add_style.main(arguments(style_place, *more)) == 0
    # The discriminator hardly moves at this rate, so the vector alone lowers the loss.
    assert sum(seen[-5:]) < sum(seen[:5]) - 0.05
    assert added(style_place).card.style_weight == 0
    after = contents(style_place / "models")
    assert {name: after[name] for name in before} == before


def test_no_other_file_of_the_folder_changes(style_place: Path) -> None:
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place)) == 0
    after = contents(style_place / "models")
    new = {"tiny/styles/new_wave.safetensors", "tiny/previews/new_wave.jpg"}
    assert after.keys() - before.keys() == new
    assert {name: after[name] for name in before} == before


def test_the_style_describes_its_painting_and_its_quality(style_place: Path) -> None:
    sample = picture(64, 40, seed=30)
    sample.save(style_place / "sample.png")
    more = ["--artist=A. N. Other", "--year=1901", "--license=CC0-1.0", "--style-weight=15"]
    assert add_style.main(arguments(style_place, *more, sample="sample.png")) == 0
    style = added(style_place)
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
    folder = read_folder(style_place / "models" / "tiny")
    network = load_network(folder)
    vectors = {name: torch.from_numpy(s.vector)[None] for name, s in folder.styles.items()}
    with Image.open(style.preview) as preview:
        shown = np.asarray(preview).astype(int)
    far = {
        name: np.abs(shown - paint(network, np.asarray(sample)[None], vector)[0]).mean()
        for name, vector in vectors.items()
    }
    assert min(far, key=lambda name: far[name]) == "new_wave"


def test_the_new_style_is_served_and_paints_differently(style_place: Path) -> None:
    assert add_style.main(arguments(style_place)) == 0
    gallery = Gallery([style_place / "models"], Device("cpu", CPU, "float32"), 10_000)
    assert not gallery.problems
    photo = pixels(1, 40, 48, seed=20)
    brushes = [gallery.brush(name) for name in ("new_wave", *STYLES)]
    new, *others = (b.network.paint(photo, b.vector[None]).astype(int) for b in brushes)
    assert min(np.abs(new - other).mean() for other in others) > 2


def test_a_style_in_a_folder_of_its_own_is_served_beside_those_of_its_network(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place, new_network="mine/waves")) == 0
    assert contents(style_place / "models") == before
    last = capsys.readouterr().out.splitlines()[-1]
    served = re.fullmatch(r"serve it: python -m app\.cli serve --models models (.*)", last)
    assert served
    assert served[1] == f"--models {style_place / 'mine'}"

    folder = read_folder(style_place / "mine" / "waves")
    assert set(folder.styles) == {"new_wave"}
    folders = [style_place / "models", style_place / "mine"]
    gallery = Gallery(folders, Device("cpu", CPU, "float32"), 10_000)
    assert not gallery.problems
    assert gallery.brush("new_wave,warm").network is gallery.networks[0]

    again = arguments(style_place, "--id=second", network="mine/waves")
    assert add_style.main(again) == 0
    assert set(read_folder(style_place / "mine" / "waves").styles) == {"new_wave", "second"}


def test_a_network_with_a_generator_is_copied_without_it(
    style_place: Path, texture_models: Path
) -> None:
    card = read_folder(texture_models / "tiny").card
    network = style_place / "models" / "tiny"
    write_card(network, read_folder(network).card.model_copy(update={"generator": card.generator}))
    assert add_style.main(arguments(style_place, new_network="mine/waves")) == 0
    gallery = Gallery([style_place / "mine"], Device("cpu", CPU, "float32"), 10_000)
    assert not gallery.problems


def test_the_command_to_serve_a_bundled_folder_names_no_folders(
    style_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(add_style, "BUNDLED_MODELS", style_place / "models")
    assert add_style.main(arguments(style_place)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "serve it: python -m app.cli serve"


@pytest.mark.parametrize("more", [[], ["--id=warm", "--force"], ["--new-network={}/mine"]])
def test_a_style_that_became_worse_is_not_written(
    style_place: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    options = [option.format(style_place) for option in more]
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place, *options, "--rate=100", "--steps=1")) == 3
    *_, line = capsys.readouterr().err.splitlines()
    found = re.search(r"worse .* an objective of (\S+) after (\S+) on held-out photos", line)
    assert found
    assert float(found[1]) > float(found[2])
    assert "nothing was written" in line
    assert contents(style_place / "models") == before
    assert not (style_place / "mine").exists()
    # Its checkpoint is gone, so that other settings can be tried at once.
    assert add_style.main(arguments(style_place, *options)) == 0


def test_with_an_adversary_a_higher_objective_is_written_and_said(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--adversarial", "--discriminator-scales=1", "--rate=100", "--steps=1"]
    assert add_style.main(arguments(style_place, *more)) == 0
    assert "is higher than at the start" in capsys.readouterr().out
    assert added(style_place)


def test_a_stopped_fit_resumes_to_the_same_vector(
    style_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(style_place / "models", style_place / "whole" / "models")
    whole_folder = "whole/models/tiny"
    assert add_style.main(arguments(style_place, network=whole_folder, out="whole/run")) == 0
    whole = added(style_place, whole_folder).vector
    reported = re.compile(r"content_48 .*")
    expected = reported.findall(capsys.readouterr().out)
    assert expected
    real, calls = CollapseDetector.check, 0

    def press_ctrl_c(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(CollapseDetector, "check", press_ctrl_c)
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place)) == 130
    assert "run again to resume" in capsys.readouterr().out
    assert contents(style_place / "models") == before
    stopped = read_checkpoint(style_place / "run" / CHECKPOINT)
    assert stopped["step"] == 3

    assert not np.array_equal(stopped["gallery"]["styles"][0], whole)  # control
    assert add_style.main(arguments(style_place)) == 0
    assert np.array_equal(added(style_place).vector, whole)
    assert reported.findall(capsys.readouterr().out) == expected  # from the same start
    assert calls == 4 + 3
    assert not (style_place / "run" / CHECKPOINT).exists()


def test_a_fit_with_other_weights_is_not_resumed(
    style_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CollapseDetector, "check", stop)
        assert add_style.main(arguments(style_place)) == 130
    weights = load_file(style_place / "models" / "tiny" / WEIGHTS)
    changed = {name: tensor + 0.01 for name, tensor in weights.items()}
    save_file(changed, style_place / "models" / "tiny" / WEIGHTS)
    capsys.readouterr()
    assert add_style.main(arguments(style_place)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt was fitted on another network" in line


def test_the_preview_is_written_before_the_style(
    style_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(added_style, "write_style", stop)
    assert add_style.main(arguments(style_place)) == 130
    names = {path.name for path in (style_place / "models" / "tiny" / "previews").iterdir()}
    assert names == {f"{style}.jpg" for style in (*STYLES, "new_wave")}
    assert (style_place / "run" / CHECKPOINT).exists()  # the fit can still resume


def test_a_style_is_replaced_only_with_force(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place, "--id=warm")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "tiny already has a style warm; choose another --id, or use --force to replace it"
    )
    assert contents(style_place / "models") == before
    assert not (style_place / "run").exists()
    assert add_style.main(arguments(style_place, "--id=warm", "--force")) == 0
    assert added(style_place, style_id="warm").card.title == "New Wave"


def test_an_unfrozen_network_is_written_to_a_new_folder(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(style_place / "models")
    more = ["--unfreeze=5", f"--new-network={style_place / 'models' / 'waves'}"]
    assert add_style.main(arguments(style_place, *more)) == 0
    after = contents(style_place / "models")
    assert {name: content for name, content in after.items() if "waves" not in name} == before

    folder = read_folder(style_place / "models" / "waves")
    assert set(folder.styles) == {"new_wave"}
    style = folder.styles["new_wave"]
    assert style.preview is not None
    assert style.card.quality["objective_48"] > 0
    old, new = (
        load_network(read_folder(style_place / "models" / name)).state_dict()
        for name in ("tiny", "waves")
    )
    assert {name for name in old if torch.equal(old[name], new[name])} == set()
    moved = max(float((old[name] - new[name]).abs().max()) for name in old)
    assert moved < 0.1  # it continued from there and did not start again
    earlier = [
        (fit["steps"], fit["recipe"]["loss_network"]) for fit in folder.card.fitted["earlier"]
    ]
    assert earlier == [(9, "somewhere.safetensors"), (6, "loss.safetensors")]
    assert folder.card.fitted["steps"] == 5
    assert str(style_place) not in folder.card.model_dump_json()

    capsys.readouterr()
    assert add_style.main(arguments(style_place, *more)) == 1
    assert "waves already exists" in capsys.readouterr().err


def test_an_unfrozen_fit_resumes_where_it_was(
    style_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--unfreeze=5", f"--new-network={style_place / 'models' / 'waves'}"]
    real, calls = CollapseDetector.check, 0

    def press_ctrl_c(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6 + 3:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(CollapseDetector, "check", press_ctrl_c)
    assert add_style.main(arguments(style_place, *more)) == 130
    assert not (style_place / "models" / "waves").exists()
    assert add_style.main(arguments(style_place, *more)) == 0
    assert calls == 6 + 3 + 3  # 6 + 5 steps, and the interrupted one
    assert read_folder(style_place / "models" / "waves").card.fitted["steps"] == 5


def damage(place: Path, fault: str) -> None:
    network, weights = place / "models" / "tiny", place / "models" / "tiny" / WEIGHTS
    if fault == "no weights":
        weights.unlink()
    elif fault == "damaged weights":
        weights.write_bytes(weights.read_bytes()[:999])
    elif fault == "wider card":
        card = read_folder(network).card
        write_card(network, card.model_copy(update={"layout": card.layout | {"width": 8}}))
    elif fault == "nan weights":
        nan = {name: tensor * torch.nan for name, tensor in load_file(weights).items()}
        save_file(nan, weights)
    elif fault == "bad recipe":
        card = read_folder(network).card
        fitted = {"recipe": FITTED | {"style_weight": -1}}
        write_card(network, card.model_copy(update={"fitted": fitted}))
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
        ("no weights", {}, "", "cannot read .*weights.safetensors"),
        ("damaged weights", {}, "", "weights.safetensors is not a readable safetensors file"),
        ("wider card", {}, "", "does not match the card: .* width 8, residual_blocks 1"),
        ("nan weights", {}, "", "weights.safetensors contains values that are not finite"),
        ("bad recipe", {}, "", "--style-weight: Input should be greater"),
        (
            "",
            {"loss_network": "none"},
            "",
            "the loss network '.*none' does not exist; .* --loss-network",
        ),
        ("", {"loss_network": "small.png"}, "", "small.png is not a readable safetensors file"),
        ("", {}, "--adversarial-weight=2", "--adversarial-weight needs --adversarial"),
        ("", {}, "--discriminator-scales=1", "--discriminator-scales needs --adversarial"),
        ("", {}, "--adversarial --adversarial-weight=-1", "--adversarial-weight: Input should be"),
        ("", {}, "--adversarial --discriminator-scales=0", "--discriminator-scales: Input should"),
        ("", {}, "--adversarial --discriminator-rate=0", "--discriminator-rate: Input should be"),
        ("", {}, "--adversarial --discriminator-scales=4", "crops and painting_size must be at le"),
        ("", {}, "--color-weight=-1", "--color-weight: Input should be greater"),
        ("", {}, "--steps=0", "--steps: Input should be greater"),
        ("", {}, "--crop=33", "--crop: .* multiple of 4"),
        ("", {}, "--rate=nan", "--rate: Input should be"),
        ("", {}, "--painting-size=3", "--painting-size: Input should be"),
        ("", {}, "--unfreeze=5", "--unfreeze needs --new-network"),
        ("", {"new_network": "photos"}, "", "photos already exists"),
        ("", {"new_network": "photos"}, "--unfreeze=5", "photos already exists"),
        ("", {"new_network": "A b"}, "--unfreeze=5", "--new-network: String should match"),
        ("", {"new_network": "waves"}, "--unfreeze=0", "--unfreeze: Input should be greater"),
        ("", {}, "--rate=3e37", r"NaN: .* \(here: --rate, now 3e\+37\)"),
        ("", {}, "--rate=3e37 --steps=1", "the last step produced NaN"),
    ],
)
def test_an_error_is_one_clear_line(
    style_place: Path,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    paths: dict[str, str],
    option: str,
    words: str,
) -> None:
    damage(style_place, fault)
    before = contents(style_place / "models")
    assert add_style.main(arguments(style_place, *option.split(), **paths)) == 1
    *bar, line = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{words}", line)
    assert not bar or "NaN" in words  # the progress bar
    assert contents(style_place / "models") == before


def test_a_loss_network_that_only_the_card_names_must_be_given(
    style_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [a for a in arguments(style_place) if not a.startswith("--loss-network")]
    assert add_style.main(given) == 1
    assert capsys.readouterr().err == (
        "error: the loss network 'somewhere.safetensors' does not exist; give its file, or "
        "vgg16 or vgg19, with --loss-network\n"
    )
