"""A fit's state, and the file that holds it between sittings."""

import os
import pickle
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from training.muon import Muon
from training.network import Gallery, TransformNetwork
from training.recipe import Recipe, RecipeError

CHECKPOINT = "checkpoint.pt"


@dataclass
class Run:
    """Where a fit stands; what a checkpoint holds."""

    recipe: Recipe
    gallery: Gallery
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]  # one for each optimiser
    step: int = 0
    seconds: float = 0.0  # of fitting, over all sittings
    earlier: list[dict[str, Any]] = field(default_factory=list)  # fits that this one started from

    def save(self, folder: Path) -> None:
        """Write the checkpoint by renaming into place."""
        partial = folder / (CHECKPOINT + ".partial")
        torch.save(
            {
                "recipe": self.recipe.model_dump(),
                "gallery": self.gallery.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "schedules": [schedule.state_dict() for schedule in self.schedules],
                "step": self.step,
                "seconds": self.seconds,
                "earlier": self.earlier,
                "device": device_name(next(self.gallery.parameters()).device),
                "torch": str(torch.__version__),
            },
            partial,
        )
        os.replace(partial, folder / CHECKPOINT)

    def resume(self, path: Path) -> None:
        """Take everything from a checkpoint. Raises RecipeError if its recipe is another."""
        state = read_checkpoint(path)
        if Recipe.model_validate(state["recipe"]) != self.recipe:
            raise RecipeError(
                f"{path} was fitted with another recipe; name another --out, or move it away"
            )
        self.gallery.load_state_dict(state["gallery"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self.step, self.seconds = state["step"], state["seconds"]
        self.earlier = state["earlier"]

    def start_from(self, path: Path) -> None:
        """Take network and style vectors from another fit's checkpoint, nothing else.

        A style that the other fit did not have starts at the mean of those it had. Raises
        RecipeError if its network has another shape.
        """
        state = read_checkpoint(path)
        recipe = Recipe.model_validate(state["recipe"])
        shape = ("width", "residual_blocks")
        if differing := [s for s in shape if getattr(recipe, s) != getattr(self.recipe, s)]:
            raise RecipeError(f"{path} was fitted with another {', '.join(differing)}")
        kept = dict(state["gallery"])
        rows = {style.id: row for style, row in zip(recipe.styles, kept["styles"], strict=True)}
        mean = kept["styles"].mean(0)
        kept["styles"] = torch.stack([rows.get(style.id, mean) for style in self.recipe.styles])
        self.gallery.load_state_dict(kept)
        settings = recipe.model_dump(exclude={*shape, "name", "styles"})
        settings["styles"] = list(rows)
        told = {"recipe": settings, "steps": state["step"], "seconds": round(state["seconds"])}
        self.earlier = [*state.get("earlier", []), told]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint file, on the CPU. Raises RecipeError if it cannot be read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError(f"{path} is not the checkpoint of a fit, or is damaged") from error
    if not isinstance(state, dict) or not {"recipe", "gallery", "step"} <= state.keys():
        raise RecipeError(f"{path} is not the checkpoint of a fit")
    return state


def device_name(device: torch.device) -> str:
    """What a person would call the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def start(recipe: Recipe, device: torch.device) -> Run:
    """A fresh run: network, style vectors; Muon for the kernels, Adam for all else."""
    torch.manual_seed(recipe.seed)
    gallery = Gallery(
        TransformNetwork(recipe.width, recipe.residual_blocks), len(recipe.styles)
    ).to(device)
    gallery = gallery.to(memory_format=torch.channels_last)
    kernels = [p for p in gallery.parameters() if p.ndim == 4]
    vectors = [p for p in gallery.parameters() if p.ndim != 4]
    optimizers = [
        Muon(kernels, recipe.learning_rate),
        torch.optim.Adam(vectors, recipe.style_learning_rate),
    ]
    schedules: list[torch.optim.lr_scheduler.LRScheduler] = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            optimizer.param_groups[0]["lr"],
            total_steps=recipe.steps + 1,
            pct_start=recipe.warmup,
            cycle_momentum=False,
        )
        for optimizer in optimizers
    ]
    return Run(recipe, gallery, optimizers, schedules)
