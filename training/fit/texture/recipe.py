"""The recipe of a texture fit: every setting, read from TOML and overridden on the command line."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.engine.noise import Wave
from training.fit.adversarial.loss import LOSSES, AdversarialLoss, LossName
from training.fit.networks import discriminator, generator
from training.fit.recipe import (
    LayerWeights,
    PaintingRecipe,
    Weight,
    Width,
    read_settings,
    unique_ids,
)


class TexturePhase(BaseModel):
    """A number of steps at one resolution.

    size: side of the patches in pixels; half as many as the recipe's `patch` means half of the
    full resolution. batch: patches per step and process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(ge=1)
    size: int = Field(ge=8)
    batch: int = Field(default=8, ge=1)


class TextureRecipe(BaseModel):
    """All settings of the fit of one generator."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    styles: Annotated[list[PaintingRecipe], AfterValidator(unique_ids)] = Field(min_length=1)
    phases: list[TexturePhase] = Field(min_length=1)
    painting_size: int = Field(default=512, ge=64, description="longest side, pixels")
    patch: int = Field(default=128, ge=16, description="side at full resolution, pixels")
    fade: float = Field(
        default=0.5, ge=0, le=1, description="share of a phase that fades in its resolution"
    )
    widths: list[Width] = Field(default=list(generator.WIDTHS), min_length=2, max_length=8)
    local_noise: int = Field(default=12, ge=1, le=256, description="channels")
    global_noise: int = Field(default=4, ge=0, le=256, description="channels")
    waves: list[Wave] = []
    discriminator_widths: list[Width] = Field(
        default=list(discriminator.WIDTHS), min_length=1, max_length=8
    )
    spectral_norm: bool | None = Field(default=None, description="default: the loss's")
    adversarial_loss: LossName = "hinge"
    adversarial_weight: Weight = 1.0
    gradient_penalty: Weight | None = Field(default=None, description="default: the loss's")
    gram_weight: Weight = 0.0
    loss_network: str = "vgg19"
    gram_layers: LayerWeights = {f"relu{block}_1": 1.0 for block in range(1, 6)}
    learning_rate: float = Field(
        default=0.01, gt=0, description="peak rate of Muon, for the generator's kernels"
    )
    other_learning_rate: float = Field(
        default=1e-3, gt=0, description="peak rate of Adam, for its biases and heads"
    )
    style_learning_rate: float = Field(
        default=5e-3, gt=0, description="peak rate of Adam, for the style vectors"
    )
    discriminator_learning_rate: float = Field(default=1e-3, gt=0, description="peak rate of Adam")
    decay: float = Field(
        default=0.5, ge=0, le=1, description="share of the steps in which the rates fall to 0"
    )
    average: float = Field(
        default=0.995, ge=0, lt=1, description="decay of the average of the generator's weights"
    )
    seed: int = 0

    @model_validator(mode="after")
    def _sizes_fit_the_networks(self) -> "TextureRecipe":
        levels, halvings = len(self.widths) - 1, len(self.discriminator_widths)
        stride, side = 2**levels, 2**halvings
        if self.patch % stride or self.patch % side or self.patch < 2 * stride:
            raise ValueError(
                f"patch must be a multiple of {stride}, the stride of the generator, at least "
                f"twice that, and a multiple of {side}, the stride of the discriminator"
            )
        sizes = [phase.size for phase in self.phases]
        allowed = [self.patch >> k for k in range(min(levels, halvings))]
        if any(size not in allowed for size in sizes):
            listed = ", ".join(map(str, allowed))
            raise ValueError(f"the size of a phase must be one of {listed}")
        if sizes[-1] != self.patch:
            raise ValueError(f"the last phase must have the size of patch, {self.patch}")
        if any(b not in (a, 2 * a) for a, b in itertools.pairwise(sizes)):
            raise ValueError("a phase must have the size of the one before it, or twice that")
        return self

    @property
    def loss(self) -> AdversarialLoss:
        """The adversarial loss."""
        return LOSSES[self.adversarial_loss]

    @property
    def penalty(self) -> float:
        """The weight of the gradient penalty."""
        given = self.gradient_penalty
        return self.loss.gradient_penalty if given is None else given

    @property
    def spectral(self) -> bool:
        """Whether the discriminator has spectral norm."""
        given = self.spectral_norm
        return self.loss.spectral_norm if given is None else given

    @property
    def noise_channels(self) -> int:
        """The channels of a noise map."""
        return self.local_noise + self.global_noise + len(self.waves)

    @property
    def steps(self) -> int:
        """The number of steps of all phases."""
        return sum(phase.steps for phase in self.phases)


def read_texture_recipe(path: Path, overrides: Iterable[str] = ()) -> TextureRecipe:
    """Read a TOML recipe; `overrides` are `key=value` with a TOML value, such as `patch=64`.

    Raises RecipeError.
    """
    return read_settings(path, overrides, TextureRecipe)
