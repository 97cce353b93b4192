import os
import signal

import pytest

from app.errors import ModelFolderError
from training.cli.run import run, stop_on_signals
from training.fit.added_style import WorseError
from training.fit.collapse import CollapseError
from training.fit.data import DataError
from training.fit.errors import TrainingError
from training.fit.features import LossNetworkError
from training.fit.recipe import RecipeError
from training.fit.weights import WeightsError
from training.graphs.parity import ParityError

ERRORS = [CollapseError, DataError, LossNetworkError, RecipeError, WeightsError, ParityError]


def test_a_result_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: "painted") == 0
    assert run(lambda: "") == 0
    assert capsys.readouterr().out == "painted\n"


@pytest.mark.parametrize("kind", [*ERRORS, ModelFolderError, OSError])
def test_an_error_is_printed_in_one_line(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> str:
        raise kind("no photos")

    assert run(command) == 1
    assert capsys.readouterr().err == "error: no photos\n"


def test_an_error_can_have_an_exit_status_of_its_own() -> None:
    def command() -> str:
        raise WorseError("the style is worse")

    assert run(command) == WorseError.exit_status
    assert WorseError.exit_status not in (0, 1, 2, 130)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_training_has_one_base(kind: type[Exception]) -> None:
    assert issubclass(kind, TrainingError)


def test_a_mistake_in_the_code_keeps_its_traceback() -> None:
    def command() -> str:
        raise KeyError("name")

    with pytest.raises(KeyError):
        run(command)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_command(number: signal.Signals) -> None:
    def command() -> str:
        stop_on_signals()
        os.kill(os.getpid(), number)
        return "not stopped"

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run(command) == 130
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
