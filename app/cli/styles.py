"""`pastiche styles`: list the styles."""

import json
from pathlib import Path

import click

from .loading import load, model_options, settings_of


@click.command()
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def styles(models: tuple[Path, ...] | None, device: str | None, as_json: bool) -> None:
    """List the styles, and what each can do."""
    entries = load(settings_of(models=models, device=device)).gallery.entries()
    if as_json:
        rows = [
            {
                "id": entry.style.id,
                **entry.style.card.model_dump(include={"title", "artist", "year", "license"}),
                "network": entry.network,
                "capabilities": entry.capabilities,
            }
            for entry in entries
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for entry in entries:
        card = entry.style.card
        year = f", {card.year}" if card.year else ""
        able = ", ".join(entry.capabilities)
        click.echo(f"{entry.style.id:24} {card.title} ({card.artist}{year}): {able}")
