"""`pastiche serve`: start the HTTP server."""

from pathlib import Path

import click

from ..engine.heap import keep_memory
from .loading import model_options, settings_of


@click.command()
@model_options
@click.option("--host", help="Address to listen on; by default 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on; by default 8000; 0 picks a free one.")
def serve(
    models: tuple[Path, ...] | None, device: str | None, host: str | None, port: int | None
) -> None:
    """Start the HTTP server.

    It also reads the PASTICHE_... environment variables of docs/settings.md.
    """
    keep_memory()  # NumPy, imported next, starts threads
    from ..http.server import serve as run  # importing the web framework takes half a second

    run(settings_of(models=models, device=device, host=host, port=port))
