"""Run a command: report its errors and turn them into an exit code."""

import signal
import sys
from collections.abc import Callable

from app.errors import PasticheError
from training.fit.errors import TrainingError

FAILED, INTERRUPTED = 1, 130


def run(command: Callable[[], str]) -> int:
    """Call the command and print what it returns.

    Return 0; or, after printing `error: ...`, the error's status if the command raises
    TrainingError, 1 if it raises PasticheError or OSError; or 130 on Ctrl-C.
    """
    try:
        result = command()
    except (TrainingError, PasticheError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, TrainingError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    if result:
        print(result)
    return 0


def stop_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT and SIGTERM.

    Shells make background processes ignore SIGINT; this lets you stop them as well.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
