"""What the subcommands share: where the models are, which device to use, and loading both."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ..settings import DeviceName, Settings, read_settings

if TYPE_CHECKING:
    from ..library import Pastiche


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --models, which is None if it is not given, and --device to a command."""
    models = click.option(
        "--models",
        type=click.Path(path_type=Path),
        multiple=True,
        callback=lambda _context, _option, folders: folders or None,
        help="Folder of model folders; repeat it for several.",
    )
    device = click.option("--device", type=click.Choice(get_args(DeviceName)), help="Where to run.")
    return models(device(command))


def settings_of(**values: object) -> Settings:
    """Return the settings of the environment, with those values that are not None instead.

    Raises SettingsError.
    """
    return read_settings(**{name: value for name, value in values.items() if value is not None})


def load(settings: Settings) -> "Pastiche":
    """Load the models. Raises ModelFolderError, DeviceUnavailable."""
    from ..library import Pastiche  # fails with a clear message if ONNX Runtime is missing

    logging.basicConfig(level="WARNING", format="%(message)s")
    return Pastiche(
        settings.models,
        settings.device,
        settings.threads,
        settings.tile_pixels,
        max_pixels=settings.max_pixels,
        max_frames=settings.max_frames,
    )
