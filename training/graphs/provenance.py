"""How a network was fitted, as recorded in its card."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.fit.checkpoint import SHAPE
from training.fit.recipe import Recipe


def provenance(checkpoint: dict[str, Any], recipe: Recipe, data: str) -> dict[str, Any]:
    """Return the card's `fitted`. Paths are shortened to file names.

    checkpoint: as `read_checkpoint` returns it. data: what the network was fitted on.
    """
    settings = recipe.model_dump(exclude={"styles", "name", *SHAPE})
    for fit in checkpoint["earlier"]:
        fit["recipe"]["loss_network"] = Path(fit["recipe"]["loss_network"]).name
    fitted = fitted_on(checkpoint, settings, data)
    return {"recipe": fitted.pop("recipe"), "earlier": checkpoint["earlier"], **fitted}


def fitted_on(checkpoint: dict[str, Any], settings: dict[str, Any], data: str) -> dict[str, Any]:
    """Return what the cards of all kinds of fits say. Paths are shortened to file names.

    settings: of the recipe. checkpoint: with `step`, `seconds`, `device` and `torch`.
    """
    return {
        "recipe": settings | {"loss_network": Path(settings["loss_network"]).name},
        "steps": checkpoint["step"],
        "seconds": round(checkpoint["seconds"]),
        "device": checkpoint["device"],
        "torch": checkpoint["torch"],
        "data": data,
        "commit": _commit(),
        "exported": datetime.now(UTC).date().isoformat(),
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
