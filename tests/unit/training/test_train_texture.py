import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from tests.tools.fits import assert_same, texture_recipe
from tests.tools.generated import write_pictures
from training import train_texture
from training.fit.adversarial.health import HealthMonitor
from training.fit.checkpoint import CHECKPOINT
from training.fit.texture import loop, previews
from training.fit.texture.checkpoint import initial_texture_state, read_texture_checkpoint
from training.fit.texture.data import TextureBatches

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "SIDE", 32)


def arguments(place: Path, *more: str, **paths: str) -> list[str]:
    """Arguments of the command. `paths`, relative to the place, replace the defaults."""
    names = {"recipe": "tiny.toml", "paintings": "paintings", "out": "run"} | paths
    named = {name: str(place / path) for name, path in names.items()}
    options = [f"--{name}={path}" for name, path in named.items() if name != "recipe"]
    return [named["recipe"], *options, "--device=cpu", *more]


def checkpoint(place: Path, run: str = "run") -> dict[str, Any]:
    return read_texture_checkpoint(place / run / CHECKPOINT)


@pytest.mark.parametrize("moment", ["reading", "checking"])
def test_a_stopped_fit_resumes_to_the_same_numbers(
    texture_place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
) -> None:
    assert train_texture.main(arguments(texture_place, out="whole")) == 0
    owner, name = {
        "reading": (TextureBatches, "__getitem__"),
        "checking": (HealthMonitor, "check"),
    }[moment]
    real, calls = getattr(owner, name), 0

    def press_ctrl_c(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, name, press_ctrl_c)
    assert train_texture.main(arguments(texture_place)) == 130
    stopped = checkpoint(texture_place)
    assert stopped["step"] == 4
    assert "holds step 4, run again to resume" in capsys.readouterr().out
    with pytest.raises(AssertionError):  # control: the states do differ
        assert_same(stopped, checkpoint(texture_place, "whole"))
    assert train_texture.main(arguments(texture_place)) == 0
    assert_same(checkpoint(texture_place), checkpoint(texture_place, "whole"))


def test_a_fit_leaves_sheets_scalars_and_a_line(
    texture_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_texture.main(arguments(texture_place, "--sheet-every=4")) == 0
    run = texture_place / "run"
    assert re.search(r"run/checkpoint\.pt: 6 steps in \d+ s on CPU", capsys.readouterr().out)
    sheets = sorted(run.glob("sheet-*.jpg"))
    assert [sheet.name for sheet in sheets] == ["sheet-000004.jpg", "sheet-000006.jpg"]
    with Image.open(sheets[1]) as sheet:
        assert sheet.size == (64, 32)


def test_every_tenth_step_is_logged(texture_place: Path) -> None:
    phases = "--set=phases=[{steps=10, size=32, batch=1}]"
    assert train_texture.main(arguments(texture_place, phases)) == 0
    board = EventAccumulator(str(texture_place / "run"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        "loss/discriminator", "loss/generator", "loss/gram", "loss/penalty",
        "score/real", "score/fake", "gradient_norm", "variation", "size", "images_per_second",
    }  # fmt: skip
    assert [scalar.step for scalar in board.Scalars("loss/gram")] == [10]


def test_the_checkpoint_of_another_recipe_is_rejected(
    texture_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = initial_texture_state(texture_recipe(texture_place), torch.device("cpu"))
    state.save(texture_place / "run")
    content = (texture_place / "run" / CHECKPOINT).read_bytes()
    assert train_texture.main(arguments(texture_place, "--set=seed=1")) == 1
    assert "checkpoint.pt was fitted with another recipe" in capsys.readouterr().err
    assert (texture_place / "run" / CHECKPOINT).read_bytes() == content


def test_a_failing_fit_keeps_the_last_good_checkpoint(
    texture_place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = HealthMonitor.check, 0

    def flat_from_the_fourth_step(
        monitor: HealthMonitor, numbers: list[float], loss: float, variation: float
    ) -> None:
        nonlocal calls
        calls += 1
        real(monitor, numbers, loss, variation if calls < 4 else 0.0)

    monkeypatch.setattr(HealthMonitor, "check", flat_from_the_fourth_step)
    monkeypatch.setattr(loop, "HealthMonitor", functools.partial(HealthMonitor, steps=5))
    phases = "--set=phases=[{steps=20, size=16, batch=1}, {steps=1, size=32}]"
    assert train_texture.main(arguments(texture_place, phases, "--sheet-every=1")) == 1
    assert "the same flat picture for 5 steps" in capsys.readouterr().err.splitlines()[-1]
    assert checkpoint(texture_place)["step"] == 3


@pytest.mark.parametrize(
    ("paths", "option", "words"),
    [
        ({"paintings": "none"}, "", r"cannot read the picture .*none/0\.png: .*No such file"),
        ({"paintings": "small"}, "", "the painting .* is 30x40 pixels"),
        ({"recipe": "none.toml"}, "", r"cannot read the recipe .*none\.toml: No such file"),
        ({}, "--set=loss_network=vgg99", "'vgg99' is neither vgg16 nor vgg19"),
        ({}, "--set=gram_layers={relu4_1=1}", "no layer relu4_1; it has relu1_1"),
    ],
)
def test_an_error_is_one_clear_line(
    texture_place: Path,
    capsys: pytest.CaptureFixture[str],
    paths: dict[str, str],
    option: str,
    words: str,
) -> None:
    write_pictures(texture_place / "small", 2, 30, 40)
    assert train_texture.main(arguments(texture_place, *filter(None, [option]), **paths)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: .*{words}", line)


def test_an_unknown_loss_is_named(texture_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = "--set=adversarial_loss=least_squares"
    assert train_texture.main(arguments(texture_place, option)) == 1
    error = capsys.readouterr().err
    assert "adversarial_loss: Input should be 'cross_entropy', 'wasserstein' or 'hinge'" in error


# The command; it also saves what each process has fitted.
WITNESS = """
import os, sys, torch
from training.fit.texture import session
from training import train_texture

fit = session.fit_texture

def keep(state, paintings, gram, folder, *rest):
    fit(state, paintings, gram, folder, *rest)
    torch.save(dict(state.model.state_dict()), folder / f"rank{os.environ['RANK']}.pt")

session.fit_texture = keep
sys.exit(train_texture.main())
"""


def test_two_processes_fit_one_generator(texture_place: Path) -> None:
    (texture_place / "witness.py").write_text(WITNESS)
    phases = "--set=phases=[{steps=1, size=16, batch=1}, {steps=1, size=32, batch=1}]"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = str(Path(train_texture.__file__).parents[1])
    done = subprocess.run(
        [*launch, str(texture_place / "witness.py"), *arguments(texture_place, phases)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    main, other = (torch.load(texture_place / "run" / f"rank{rank}.pt") for rank in range(2))
    assert_same(main, other)
    assert_same(main, dict(checkpoint(texture_place)["model"]))
    # Control: the first process alone gives other weights.
    assert train_texture.main(arguments(texture_place, phases, out="alone")) == 0
    with pytest.raises(AssertionError):
        assert_same(main, dict(checkpoint(texture_place, "alone")["model"]))
