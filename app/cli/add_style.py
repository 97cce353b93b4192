"""`pastiche add-style`: fit a new style, by the training command of a checkout."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import click

from ..errors import PasticheError

NEEDS = (
    "fitting a style takes the training code and PyTorch: in a checkout of Pastiche, run "
    "pip install '.[training,cpu]', then run this command there"
)


@click.command(
    name="add-style", context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="PAINTING [OPTION]...")
def add_style(arguments: tuple[str, ...]) -> int:
    """Fit the style of a painting. Run it with --help for its options.

    It is the same as python -m training.add_style, and needs a checkout with the training extra.
    """
    if not (Path.cwd() / "training" / "add_style.py").is_file() or not all(
        importlib.util.find_spec(package) for package in ("torch", "torchvision", "onnx")
    ):
        raise PasticheError(NEEDS)
    command = [sys.executable, "-m", "training.add_style", *arguments]
    return subprocess.run(command, check=False).returncode
