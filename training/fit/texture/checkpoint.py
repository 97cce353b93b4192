"""The state of a texture fit, and the checkpoint file that holds it."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.model_folder import write_atomically
from training.fit.adversarial.average import WeightAverage
from training.fit.checkpoint import CHECKPOINT, load_checkpoint
from training.fit.device import device_name
from training.fit.muon import Muon
from training.fit.networks.discriminator import Discriminator
from training.fit.networks.generator import Generator, TextureModel
from training.fit.recipe import RecipeError
from training.fit.texture.recipe import TextureRecipe
from training.fit.weights import WeightsError

BETAS = (0.0, 0.99)  # of Adam; momentum makes two networks that play against each other circle


@dataclass
class TextureState:
    """Everything that a checkpoint holds."""

    recipe: TextureRecipe
    model: TextureModel
    average: WeightAverage[TextureModel]
    discriminator: Discriminator
    optimizers: list[torch.optim.Optimizer]  # two of the model, then the discriminator's
    step: int = 0  # completed steps
    seconds: float = 0.0  # spent in steps, over all runs of the command

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        return self.model.styles.device

    def save(self, folder: Path) -> None:
        """Write the checkpoint file, atomically."""
        content = io.BytesIO()
        torch.save(
            {
                "texture_recipe": self.recipe.model_dump(),
                "model": self.model.state_dict(),
                "average": self.average.model.state_dict(),
                "discriminator": self.discriminator.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
                "device": device_name(self.device),
                "torch": str(torch.__version__),
            },
            content,
        )
        write_atomically(folder / CHECKPOINT, content.getvalue())

    def resume(self, path: Path) -> None:
        """Load everything from a checkpoint. Raises RecipeError if its recipe is different."""
        checkpoint = read_texture_checkpoint(path)
        if TextureRecipe.model_validate(checkpoint["texture_recipe"]) != self.recipe:
            raise RecipeError(
                f"{path} was fitted with another recipe; choose another --out, or move it away"
            )
        self.model.load_state_dict(checkpoint["model"])
        self.average.model.load_state_dict(checkpoint["average"])
        self.discriminator.load_state_dict(checkpoint["discriminator"])
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = checkpoint["step"], checkpoint["seconds"]


def initial_texture_state(recipe: TextureRecipe, device: torch.device) -> TextureState:
    """Return the state before the first step: Muon for the generator's kernels, else Adam."""
    torch.manual_seed(recipe.seed)
    model = _model_of(recipe).to(device)
    discriminator = Discriminator(
        len(recipe.styles), recipe.discriminator_widths, spectral=recipe.spectral
    ).to(device)
    # The heads are left to Adam: Muon would give each of their three rows the same weight.
    layers = model.generator.convolutions
    tensors = [tensor for layer in layers for tensor in layer.parameters()]
    kernels = [tensor for tensor in tensors if tensor.ndim == 4]
    biases = [tensor for tensor in tensors if tensor.ndim == 1]
    others = [*biases, *model.generator.heads.parameters()]
    groups = [
        {"params": others, "lr": recipe.other_learning_rate},
        {"params": [model.styles], "lr": recipe.style_learning_rate},
    ]
    optimizers = [
        Muon(kernels, recipe.learning_rate),
        torch.optim.Adam(groups, betas=BETAS),
        torch.optim.Adam(
            discriminator.parameters(), recipe.discriminator_learning_rate, betas=BETAS
        ),
    ]
    average = WeightAverage(model, recipe.average)
    return TextureState(recipe, model, average, discriminator, optimizers)


def read_texture_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, on the CPU. Raises RecipeError if it is unreadable."""
    return load_checkpoint(path, {"texture_recipe", "average", "step"}, "a texture checkpoint")


def load_texture_model(checkpoint: dict[str, Any]) -> tuple[TextureRecipe, TextureModel]:
    """Return the recipe and the averaged model of what `read_texture_checkpoint` returned.

    Raises WeightsError if the weights do not match the recipe.
    """
    recipe = TextureRecipe.model_validate(checkpoint["texture_recipe"])
    model = _model_of(recipe)
    try:
        model.load_state_dict(checkpoint["average"])
    except RuntimeError as error:
        raise WeightsError("the weights of the checkpoint do not match its recipe") from error
    return recipe, model.eval()


def _model_of(recipe: TextureRecipe) -> TextureModel:
    return TextureModel(Generator(recipe.noise_channels, recipe.widths), len(recipe.styles))
