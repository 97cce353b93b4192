"""`pastiche doctor`: what is installed, what is used, and how fast it is."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from .. import __version__
from ..errors import PasticheError
from ..model_folder import pattern
from ..pixels.images import FILE_FORMATS, FORMATS, HEIF_EXTRA, Picture, readable_formats
from .loading import load, model_options, settings_of

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pillow",
    "pillow-heif",
)
SIDE, ROUNDS = 512, 5  # of the pictures that are timed, pixels; the best of so many


@click.command()
@model_options
def doctor(models: tuple[Path, ...] | None, device: str | None) -> int:
    """Check the installation: versions, the device and why it is no better one, models, speed.

    The exit status is 1 if a model folder has a problem, or if nothing can be painted.
    """
    click.echo(f"pastiche {__version__}, Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            click.echo(f"{package} {version(package)}")
        except PackageNotFoundError:
            click.echo(f"{package}: not installed")
    readable = readable_formats()
    click.echo(f"reads {', '.join(readable)}; writes {', '.join(FORMATS)}")
    for format in FILE_FORMATS:
        if format not in readable:
            click.echo(f"  not {format}: it takes {HEIF_EXTRA}")
    settings = settings_of(models=models, device=device)
    from ..engine.devices.choice import refusals  # fails with a clear message without ONNX Runtime
    from ..pixels.canvas import Finish

    pastiche = load(settings)
    click.echo(f"device: {pastiche.device}")
    for name, reason in refusals(pastiche.device).items():
        click.echo(f"  not {name}: {reason}")
    click.echo(f"models: {', '.join(map(str, settings.models))}")
    gallery = pastiche.gallery
    for path, served in gallery.folders.items():
        click.echo(f"  {path}: {len(served.styles)} styles, {len(served.textures)} textures")
    for problem in gallery.problems:
        click.echo(f"  problem: {problem}")
    style = next(iter(pastiche.styles), None)
    if style is None:
        raise PasticheError("no styles")
    photo, finish = Picture(pattern(SIDE)[0]), Finish()
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        pastiche.paint(photo, style, finish)
        seconds.append(time.perf_counter() - began)
    click.echo(f"{SIDE}x{SIDE} pixels: {1e3 * min(seconds):.0f} ms, the best of {ROUNDS}")
    return 1 if gallery.problems else 0
