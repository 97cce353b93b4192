"""The state of a fit, and the checkpoint file that holds it."""

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.errors import ModelFolderError
from app.model_folder import read_folder, write_atomically
from training.fit.adversarial.adversary import Adversary
from training.fit.device import device_name
from training.fit.muon import Muon
from training.fit.networks.compact import CompactNetwork
from training.fit.networks.layout import CompactLayout, Layout
from training.fit.networks.styled import StyledNetwork
from training.fit.recipe import Recipe, RecipeError
from training.fit.weights import LAYOUT, WeightsError, load_network

CHECKPOINT = "checkpoint.pt"
# The settings that determine the network's weights.
SHAPE = (
    *("layout", "width", "residual_blocks"),
    *("quarter_width", "eighth_width", "blocks", "noise_channels"),
)

# The weights with which a block, or the noise, adds to what is there.
ADDS = {"project", "mix"}
ADVERSARY_BETAS = (0.5, 0.99)  # of Adam; the game has no place for a long momentum
LAST_ADVERSARY_RATE = 0.1  # of the discriminators, as a share of the peak


@dataclass
class TrainState:
    """Everything that a checkpoint holds.

    adversary: if the recipe has an adversarial weight. Its optimizer and schedule are then the last
    of the lists.
    """

    recipe: Recipe
    model: StyledNetwork
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]  # one per optimizer
    step: int = 0  # completed steps
    seconds: float = 0.0  # spent in steps, over all runs of the command
    earlier: list[dict[str, Any]] = field(default_factory=list)  # the fits it started from
    adversary: Adversary | None = None

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return next(self.model.parameters()).device

    def save(self, folder: Path) -> None:
        """Write the checkpoint file, atomically."""
        content = io.BytesIO()
        adversary = self.adversary and {"adversary": self.adversary.state_dict()}
        torch.save(
            (adversary or {})
            | {
                "recipe": self.recipe.model_dump(),
                "gallery": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "schedules": [schedule.state_dict() for schedule in self.schedules],
                "step": self.step,
                "seconds": self.seconds,
                "earlier": self.earlier,
                "device": device_name(self.device),
                "torch": str(torch.__version__),
            },
            content,
        )
        write_atomically(folder / CHECKPOINT, content.getvalue())

    def resume(self, path: Path) -> None:
        """Load everything from a checkpoint. Raises RecipeError if its recipe is different."""
        checkpoint = read_checkpoint(path)
        if Recipe.model_validate(checkpoint["recipe"]) != self.recipe:
            raise RecipeError(
                f"{path} was fitted with another recipe; choose another --out, or move it away"
            )
        self.model.load_state_dict(checkpoint["gallery"])
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, checkpoint["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self.adversary is not None:
            self.adversary.load_state_dict(checkpoint["adversary"])
        self.step, self.seconds = checkpoint["step"], checkpoint["seconds"]
        self.earlier = checkpoint["earlier"]

    def start_from(self, path: Path) -> None:
        """Load only the network and style vectors of another fit.

        path: a checkpoint, or a model folder. A style that the other fit lacks starts at the mean
        of the others. A network of the compact layout may have more blocks in its last stage than
        the other one, and noise if that has none; at first they change nothing. Raises RecipeError
        if the network has another shape, WeightsError.
        """
        other = _read_model_folder(path) if path.is_dir() else read_checkpoint(path)
        recipe: dict[str, Any] = other["recipe"]
        if not path.is_dir():
            layout = Recipe.model_validate(recipe).network_layout
            recipe = recipe | {"layout": layout.model_dump(mode="json")}
        layout = LAYOUT.validate_python(recipe["layout"])
        own = self.recipe.network_layout
        different = _differences(layout, own)
        if different:
            different = ["layout"] if "name" in different else different
            raise RecipeError(f"{path} was fitted with another {', '.join(different)}")
        weights, ids = dict(other["gallery"]), [style["id"] for style in recipe["styles"]]
        weights.setdefault("bold", weights["styles"])
        for name in ("styles", "bold"):
            vectors = dict(zip(ids, weights[name], strict=True))
            mean = weights[name].mean(0)
            rows = [vectors.get(style.id, mean) for style in self.recipe.styles]
            weights[name] = torch.stack(rows)
        if layout != own:
            weights = self._extended(weights, layout)
        if self.model.bold is None:
            del weights["bold"]
        self.model.load_state_dict(weights)
        settings = {key: recipe[key] for key in recipe.keys() - {*SHAPE, "name", "styles"}}
        entry = {
            "recipe": {**dict(sorted(settings.items())), "styles": ids},
            "steps": other["step"],
            "seconds": round(other["seconds"]),
        }
        self.earlier = [*other.get("earlier", []), entry]

    def _extended(self, weights: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
        """Add what a network of another layout lacks, such that it changes nothing."""
        network, other = self.model.network, layout.build()
        fresh = {
            name: torch.zeros_like(value) if ADDS.intersection(name.split(".")) else value
            for name, value in self.model.state_dict().items()
            if name not in weights
        }
        assert isinstance(network, CompactNetwork)
        neutral, place = network.neutral_style(), network.noise_scales
        noise = neutral[place] if network.has_noise and not other.has_noise else neutral[:0]
        for name in ("styles", "bold"):
            rows, at = weights[name], place.start
            rows = torch.cat([rows[:, :at], noise.expand(len(rows), -1), rows[:, at:]], 1)
            last = neutral[rows.shape[1] :]
            weights[name] = torch.cat([rows, last.expand(len(rows), -1)], 1)
        return {**weights, **fresh}


def _differences(layout: Layout, own: Layout) -> list[str]:
    """Return the settings for which a network of `own` cannot start from one of `layout`."""
    given, wanted = layout.model_dump(), own.model_dump()
    different = {name for name in wanted if given.get(name) != wanted[name]}
    if isinstance(layout, CompactLayout) and isinstance(own, CompactLayout):
        if layout.blocks[:2] == own.blocks[:2] and layout.blocks[2] < own.blocks[2]:
            different.discard("blocks")
        if not layout.noise_channels:
            different.discard("noise_channels")
    return sorted(different)


def initial_state(recipe: Recipe, device: torch.device) -> TrainState:
    """Return the state before the first step: Muon for the kernels, Adam for everything else.

    A recipe with an adversarial weight also gets discriminators, with an optimizer of their own.
    """
    torch.manual_seed(recipe.seed)
    model = _model_of(recipe).to(device)
    model = model.to(memory_format=torch.channels_last)
    # Muon makes matrices orthogonal; a depthwise kernel is a matrix of one row for each channel.
    network = list(model.network.parameters())
    kernels = [p for p in network if p.ndim == 4 and p.shape[1] > 1]
    others = [p for p in network if p.ndim != 4 or p.shape[1] == 1]
    vectors = [model.styles] if model.bold is None else [model.styles, model.bold]
    groups = [
        {"params": vectors, "lr": recipe.style_learning_rate},
        {"params": others, "lr": recipe.other_learning_rate},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(kernels, recipe.learning_rate),
        torch.optim.Adam(groups),
    ]
    schedules: list[torch.optim.lr_scheduler.LRScheduler] = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=recipe.steps + 1,
            pct_start=recipe.warmup,
            cycle_momentum=False,
        )
        for optimizer in optimizers
    ]
    if not recipe.adversarial_weight:
        return TrainState(recipe, model, optimizers, schedules)
    adversary = Adversary(recipe).to(device)
    rate, betas = recipe.discriminator_learning_rate, ADVERSARY_BETAS
    optimizers.append(torch.optim.Adam(adversary.parameters(), rate, betas))
    # No warm-up: while the network hardly moves, the discriminators learn what to say to it.
    schedules.append(
        torch.optim.lr_scheduler.LinearLR(
            optimizers[-1], 1.0, LAST_ADVERSARY_RATE, total_iters=recipe.steps
        )
    )
    return TrainState(recipe, model, optimizers, schedules, adversary=adversary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, on the CPU. Raises RecipeError if it is unreadable."""
    return load_checkpoint(path, {"recipe", "gallery", "step"})


def load_checkpoint(path: Path, keys: set[str], kind: str = "a checkpoint") -> dict[str, Any]:
    """Return the contents of a checkpoint that has the keys, on the CPU. Raises RecipeError."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError(f"{path} is not {kind}, or it is damaged") from error
    if not isinstance(checkpoint, dict) or not keys <= checkpoint.keys():
        raise RecipeError(f"{path} is not {kind}")
    return checkpoint


def load_model(checkpoint: dict[str, Any]) -> tuple[Recipe, StyledNetwork]:
    """Return the recipe and the model of what `read_checkpoint` returned, on the CPU.

    Raises WeightsError if the weights do not match the recipe.
    """
    recipe = Recipe.model_validate(checkpoint["recipe"])
    model = _model_of(recipe)
    try:
        model.load_state_dict(checkpoint["gallery"])
    except RuntimeError as error:
        raise WeightsError("the weights of the checkpoint do not match its recipe") from error
    return recipe, model


def _model_of(recipe: Recipe) -> StyledNetwork:
    network = recipe.network_layout.build()
    return StyledNetwork(network, len(recipe.styles), bold=recipe.bold_style_weight is not None)


def _read_model_folder(path: Path) -> dict[str, Any]:
    """Return a model folder as the checkpoint of its fit, without the optimizers."""
    try:
        folder = read_folder(path)
    except ModelFolderError as error:
        raise RecipeError(f"cannot start from {path}: {error}") from error
    card, styles = folder.card, folder.styles
    network = {f"network.{k}": tensor for k, tensor in load_network(folder).state_dict().items()}
    vectors = {
        "styles": [style.vector for style in styles.values()],
        "bold": [style.vector if style.bold is None else style.bold for style in styles.values()],
    }
    stacked = {name: torch.from_numpy(np.stack(rows)) for name, rows in vectors.items()}
    return {
        "recipe": {
            **card.fitted.get("recipe", {}),
            **card.model_dump(include={"name", "layout"}),
            "styles": [{"id": style_id} for style_id in styles],
        },
        "gallery": {**network, **stacked},
        "step": card.fitted.get("steps", 0),
        "seconds": card.fitted.get("seconds", 0),
        "earlier": card.fitted.get("earlier", []),
    }
