"""A fit's state, and the file that holds it between sittings."""

import os
import pickle
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from app.errors import ModelFolderError
from app.model_folder import WEIGHTS, ModelFolder, read_folder
from training.fit.muon import Muon
from training.fit.network import Gallery, TransformNetwork
from training.fit.recipe import Recipe, RecipeError

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
        """Take network and style vectors from another fit, nothing else.

        path: its checkpoint, or the model folder that was exported from it. A style that the other
        fit did not have starts at the mean of those it had. Raises RecipeError if its network has
        another shape.
        """
        state = _exported(path) if path.is_dir() else read_checkpoint(path)
        recipe: dict[str, Any] = state["recipe"]
        shape = ("width", "residual_blocks")
        if differing := [s for s in shape if recipe[s] != getattr(self.recipe, s)]:
            raise RecipeError(f"{path} was fitted with another {', '.join(differing)}")
        kept, ids = dict(state["gallery"]), [style["id"] for style in recipe["styles"]]
        rows = dict(zip(ids, kept["styles"], strict=True))
        mean = kept["styles"].mean(0)
        kept["styles"] = torch.stack([rows.get(style.id, mean) for style in self.recipe.styles])
        self.gallery.load_state_dict(kept)
        settings = {key: recipe[key] for key in recipe.keys() - {*shape, "name", "styles"}}
        told = {
            "recipe": {**dict(sorted(settings.items())), "styles": ids},
            "steps": state["step"],
            "seconds": round(state["seconds"]),
        }
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


def _exported(path: Path) -> dict[str, Any]:
    """What a checkpoint would hold of the fit of a model folder, but for the optimisers."""
    try:
        folder = read_folder(path)
    except ModelFolderError as error:
        raise RecipeError(f"{path} is not a model folder to start from: {error}") from error
    card, styles = folder.card, folder.styles
    network = {f"network.{k}": tensor for k, tensor in read_network(folder).state_dict().items()}
    vectors = torch.stack([torch.from_numpy(style.vector) for style in styles.values()])
    return {
        "recipe": {
            **card.fitted.get("recipe", {}),
            **card.model_dump(include={"name", "width", "residual_blocks"}),
            "styles": [{"id": name} for name in styles],
        },
        "gallery": {**network, "styles": vectors},
        "step": card.fitted.get("steps", 0),
        "seconds": card.fitted.get("seconds", 0),
        "earlier": card.fitted.get("earlier", []),
    }


def read_network(folder: ModelFolder) -> TransformNetwork:
    """The folder's transform network. Raises RecipeError if its weights are missing or others."""
    path, card = folder.path / WEIGHTS, folder.card
    network = TransformNetwork(card.width, card.residual_blocks)
    try:
        network.load_state_dict(load_file(path))
        if network.style_dimension != card.style_dimension:
            raise RuntimeError
    except OSError as error:
        raise RecipeError(f"{path} cannot be read; without it nothing can be fitted") from error
    except SafetensorError as error:
        raise RecipeError(f"{path} is not a readable safetensors file: {error}") from error
    except RuntimeError as error:
        raise RecipeError(
            f"{path} is not of the network that the card tells of, of width {card.width} with "
            f"{card.residual_blocks} residual blocks and styles of {card.style_dimension} numbers"
        ) from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise RecipeError(f"{path} holds values that are not finite")
    return network


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
