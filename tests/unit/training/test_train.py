import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from tests.tools.fits import assert_same, checkpoint, fit_recipe
from tests.tools.generated import write_pictures
from training import train
from training.fit.checkpoint import CHECKPOINT, initial_state
from training.fit.collapse import CollapseDetector
from training.fit.data import Batches

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def arguments(place: Path, *more: str, **paths: str) -> list[str]:
    """Arguments of the command. `paths`, relative to the place, replace the defaults."""
    names = {"recipe": "tiny.toml", "photos": "photos", "paintings": "paintings", "out": "run"}
    named = {name: str(place / path) for name, path in (names | paths).items()}
    options = [f"--{name}={path}" for name, path in named.items() if name != "recipe"]
    return [named["recipe"], *options, "--device=cpu", "--workers=0", *more]


ADVERSARY = (
    "--set=adversarial_weight=1",
    "--set=discriminator_widths=[4, 4]",
    "--set=adversarial_loss=wasserstein",
    "--set=spectral_norm=true",
)

NOISE = (
    "--set=layout='compact'",
    "--set=blocks=[0, 1, 0]",
    "--set=eighth_width=8",
    "--set=noise_channels=3",
    "--set=phases=[{steps=6, crop=64, batch=1}]",
)


@pytest.mark.parametrize(
    ("moment", "more"),
    [("reading", ()), ("checking", ()), ("checking", ADVERSARY), ("checking", NOISE)],
)
def test_a_stopped_fit_resumes_to_the_same_numbers(
    fit_place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
    more: tuple[str, ...],
) -> None:
    assert train.main(arguments(fit_place, *more, out="whole")) == 0

    owner, name = {"reading": (Batches, "__getitem__"), "checking": (CollapseDetector, "check")}[
        moment
    ]
    real, calls = getattr(owner, name), 0

    def press_ctrl_c(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, name, press_ctrl_c)
    assert train.main(arguments(fit_place, *more)) == 130
    stopped = checkpoint(fit_place)
    assert stopped["step"] == 3
    assert "holds step 3, run again to resume" in capsys.readouterr().out
    with pytest.raises(AssertionError):  # control: the states do differ
        assert_same(stopped, checkpoint(fit_place, "whole"))

    torch.save(stopped | {"seconds": 1000.0}, fit_place / "run" / CHECKPOINT)
    assert train.main(arguments(fit_place, *more)) == 0
    assert_same(checkpoint(fit_place), checkpoint(fit_place, "whole"))
    assert checkpoint(fit_place)["seconds"] > 1000
    assert ("adversary" in stopped) == (more == ADVERSARY)


def test_running_a_complete_fit_again_changes_nothing(fit_place: Path) -> None:
    assert train.main(arguments(fit_place)) == 0
    content = (fit_place / "run" / CHECKPOINT).read_bytes()
    assert train.main(arguments(fit_place)) == 0
    assert (fit_place / "run" / CHECKPOINT).read_bytes() == content


def test_the_checkpoint_of_another_recipe_is_rejected(
    fit_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(fit_place)) == 0
    content = (fit_place / "run" / CHECKPOINT).read_bytes()
    capsys.readouterr()
    assert train.main(arguments(fit_place, "--set=seed=1")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt was fitted with another recipe" in line
    assert (fit_place / "run" / CHECKPOINT).read_bytes() == content


def test_a_fit_can_start_from_another_and_records_it(fit_place: Path) -> None:
    assert train.main(arguments(fit_place)) == 0
    first = fit_place / "run" / CHECKPOINT
    state = initial_state(fit_recipe(fit_place, "seed=1"), CPU)
    state.start_from(first)
    assert_same(dict(state.model.state_dict()), checkpoint(fit_place)["gallery"])
    assert (state.step, state.seconds, [o.state for o in state.optimizers]) == (0, 0, [{}, {}])

    (fit_place / "second").mkdir()
    torch.nn.init.constant_(state.model.styles, 7)
    state.step = 5  # an interrupted fit: the command resumes it instead of starting from the first
    state.save(fit_place / "second")
    another = ["--set=seed=1", f"--start-from={first}"]
    assert train.main(arguments(fit_place, *another, out="second")) == 0
    assert checkpoint(fit_place, "second")["gallery"]["styles"].sub(7).abs().max() < 1
    second = fit_place / "second" / CHECKPOINT
    assert (
        train.main(arguments(fit_place, "--set=seed=2", f"--start-from={second}", out="third")) == 0
    )
    earlier = checkpoint(fit_place, "third")["earlier"]
    assert [(fit["recipe"]["seed"], fit["steps"]) for fit in earlier] == [(0, 6), (1, 6)]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("width=8", "another width"),
        ("residual_blocks=2", "another residual_blocks"),
    ],
)
def test_a_fit_cannot_start_from_a_network_of_another_shape(
    fit_place: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    initial_state(fit_recipe(fit_place), CPU).save(fit_place)
    options = [f"--set={override}", f"--start-from={fit_place / CHECKPOINT}"]
    assert train.main(arguments(fit_place, *options)) == 1
    assert capsys.readouterr().err.endswith(f"was fitted with {words}\n")


def test_unreadable_photos_are_named_once_and_counted(
    fit_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "2"):
        (fit_place / "photos" / f"{name}.png").write_bytes(b"no picture")
    assert train.main(arguments(fit_place, "--set=phases=[{steps=12, crop=32}]")) == 0
    lines = capsys.readouterr().out.splitlines()
    skipped = sorted(line.split(":")[1] for line in lines if line.startswith("skipped: "))
    assert skipped == [f" cannot read the picture {fit_place}/photos/{name}.png" for name in "02"]
    assert "2 photos could not be read and were skipped" in lines


def test_a_fit_with_nan_is_stopped_and_its_checkpoint_stays_finite(
    fit_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(fit_place, "--set=learning_rate=1e30", "--sheet-every=1")) == 1
    assert "NaN: lower learning_rate" in capsys.readouterr().err.splitlines()[-1]
    assert checkpoint(fit_place)["step"] > 0
    assert all(tensor.isfinite().all() for tensor in checkpoint(fit_place)["gallery"].values())


@pytest.mark.parametrize(
    ("paths", "option", "words"),
    [
        ({"photos": "none"}, "", "the photo folder .*none does not exist"),
        ({"photos": "run"}, "", "no photos below .*run"),
        ({"photos": "broken"}, "", "none of the 2 photos can be read; .*broken/"),
        ({"validate": "none"}, "", "the photo folder .*none does not exist"),
        ({"paintings": "none"}, "", r"cannot read the picture .*none/0\.png: .*No such file"),
        ({"paintings": "small"}, "", "the painting .* is 32x32 pixels"),
        ({"recipe": "none.toml"}, "", r"cannot read the recipe .*none\.toml: No such file"),
        ({"recipe": "loss.safetensors"}, "", "is not TOML"),
        ({}, "--set=width", "override 'width' is not of the form"),
        ({}, "--set=loss_network=vgg99", "'vgg99' is neither vgg16 nor vgg19"),
        ({}, "--set=content_layers={relu4_1=1}", "no layer relu4_1; it has relu1_1"),
    ],
)
def test_an_error_is_one_clear_line(
    fit_place: Path,
    capsys: pytest.CaptureFixture[str],
    paths: dict[str, str],
    option: str,
    words: str,
) -> None:
    for photo in write_pictures(fit_place / "broken", 2):
        photo.write_bytes(b"no picture")
    write_pictures(fit_place / "small", 2, 32, 32)
    assert train.main(arguments(fit_place, *filter(None, [option]), **paths)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{words}", line)


def test_every_invalid_setting_of_a_recipe_has_a_line(
    fit_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(arguments(fit_place, "--set=width=3", "--set=colour=red")) == 1
    head, *faults = capsys.readouterr().err.splitlines()
    assert head == f"error: {fit_place}/tiny.toml is not a valid recipe:"
    assert [fault.split(":")[0] for fault in faults] == ["  width", "  colour"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_an_error(fit_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(arguments(fit_place, "--device=cuda")) == 1
    assert capsys.readouterr().err == "error: PyTorch finds no CUDA device; use --device cpu\n"


def test_the_losses_on_held_out_photos_are_printed_and_logged(
    fit_place: Path, capsys: pytest.CaptureFixture[str], small: None
) -> None:
    write_pictures(fit_place / "held out", 2)
    more = [f"--validate={fit_place / 'held out'}", "--sheet-every=4"]
    assert train.main(arguments(fit_place, *more)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "held-out" in line]
    assert [line.split(":")[0] for line in lines] == ["step 4", "step 6"]
    board = EventAccumulator(str(fit_place / "run"))
    board.Reload()
    for name in ("content", "style", "objective"):
        scalars = board.Scalars(f"validation/{name}")
        assert [scalar.step for scalar in scalars] == [4, 6]
        assert all(scalar.value > 0 for scalar in scalars)
    objective = board.Scalars("validation/objective")[0].value
    assert f"objective {objective:.3f}" in lines[0]


# The command; it also saves what each process has fitted and how often it wrote a checkpoint.
WITNESS = """
import os, sys, torch
from training.fit import checkpoint, session
from training import train

fit, save, saved = session.fit, checkpoint.TrainState.save, []

def count(state, folder):
    saved.append(state.step)
    save(state, folder)

def keep(state, loss, photos, folder, *rest, **options):
    fit(state, loss, photos, folder, *rest, **options)
    witness = {"gallery": state.model.state_dict(), "saved": saved}
    torch.save(witness, folder / f"rank{os.environ['RANK']}.pt")

checkpoint.TrainState.save, session.fit = count, keep
sys.exit(train.main())
"""


def test_two_processes_fit_one_network(fit_place: Path) -> None:
    (fit_place / "witness.py").write_text(WITNESS)
    phases = "--set=phases=[{steps=2, crop=32, batch=2}]"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(fit_place / "witness.py"), *arguments(fit_place, phases, "--workers=1")],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    main, other = (torch.load(fit_place / "run" / f"rank{rank}.pt") for rank in range(2))
    assert_same(main["gallery"], other["gallery"])
    assert_same(dict(main["gallery"]), checkpoint(fit_place)["gallery"])
    assert (main["saved"], other["saved"]) == ([2], [])
    # Control: the first process alone gives other weights.
    assert train.main(arguments(fit_place, phases, out="alone")) == 0
    with pytest.raises(AssertionError):
        assert_same(checkpoint(fit_place)["gallery"], checkpoint(fit_place, "alone")["gallery"])
