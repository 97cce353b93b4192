"""Command-line arguments that several commands take."""

import argparse
import math
from collections.abc import Callable


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `python -m training.<name>` that keeps the description's line breaks."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, as `training.fit.device.pick_device` takes it."""
    parser.add_argument(
        "--device",
        default="auto",
        choices=["auto", "cpu", "cuda"],
        help="auto uses CUDA if PyTorch finds it (default: auto)",
    )


def at_least(minimum: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return an argparse type that rejects numbers below `minimum`."""

    def number(text: str) -> float:
        value = kind(text)
        if not value >= minimum:
            raise argparse.ArgumentTypeError(f"{text} is not at least {minimum:g}")
        return value

    return number


def between(low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type for numbers from `low` to `high`."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"must be a number from {low:g} to {high:g}, not {text!r}"
            )
        return value

    return number
