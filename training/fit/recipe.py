"""The recipe: every setting of a fit, read from TOML and overridden on the command line."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.model_folder import StyleId
from training.fit.adversarial.loss import LOSSES, AdversarialLoss, LossName
from training.fit.errors import TrainingError
from training.fit.networks.layout import Blocks, CompactLayout, JohnsonLayout, Layout


class RecipeError(TrainingError):
    """A recipe is invalid; the message names the file or setting and what is allowed."""


Settings = TypeVar("Settings", bound=BaseModel)
Weight = Annotated[float, Field(ge=0)]


class PaintingRecipe(BaseModel):
    """A painting to fit, and its description."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: StyleId
    painting: str
    title: str
    artist: str = "unknown"
    year: int | None = None
    license: str = "unknown"
    share: float = Field(
        default=1.0, gt=0, description="share of the samples, relative to the other styles"
    )


class StyleRecipe(PaintingRecipe):
    """A painting whose style a transform network is fitted to."""

    painting_size: int | None = Field(
        default=None, ge=64, description="shorter side in pixels; default: the recipe's"
    )
    style_weight: Weight | None = Field(default=None, description="default: the recipe's")


Painting = TypeVar("Painting", bound=PaintingRecipe)


def unique_ids(styles: list[Painting]) -> list[Painting]:
    """Return the styles. Raises ValueError if two have the same id."""
    if len({style.id for style in styles}) != len(styles):
        raise ValueError("two styles have the same id")
    return styles


Width = Annotated[int, Field(ge=1, le=1024)]
Crop = Annotated[int, Field(ge=32, multiple_of=4)]
Crops = Annotated[
    list[Crop],
    Field(min_length=1),
    BeforeValidator(lambda crop: [crop] if isinstance(crop, int) else crop),
]


class Phase(BaseModel):
    """A number of steps with one set of crop sizes.

    crop: side in pixels; the steps cycle through several. batch: images per process at the first
    crop size; at the others it is scaled to keep the cost of a step constant.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(ge=1)
    crop: Crops
    batch: int = Field(default=4, ge=1)

    def shape(self, step: int) -> tuple[int, int]:
        """Return (batch, crop) at a step of the fit, counted from 0."""
        crop = self.crop[step % len(self.crop)]
        return max(1, round(self.batch * (self.crop[0] / crop) ** 2)), crop


def _some_weight(weights: dict[str, float]) -> dict[str, float]:
    if not any(weights.values()):
        raise ValueError("at least one layer must have a weight above 0")
    return weights


LayerWeights = Annotated[dict[str, Weight], AfterValidator(_some_weight)]


class Recipe(BaseModel):
    """All settings of one fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    styles: Annotated[list[StyleRecipe], AfterValidator(unique_ids)] = Field(min_length=1)
    phases: list[Phase] = Field(min_length=1)
    layout: Literal["johnson", "compact"] = "johnson"
    width: int = Field(default=32, ge=4, le=128, description="channels of the johnson layout")
    residual_blocks: int = Field(default=5, ge=1, le=16, description="of the johnson layout")
    quarter_width: int = Field(
        default=48, ge=48, le=256, description="channels of the compact layout at a quarter"
    )
    eighth_width: int = Field(
        default=128, ge=4, le=512, description="channels of the compact layout at an eighth"
    )
    blocks: tuple[Blocks, Blocks, Blocks] = Field(
        default=(1, 6, 4),
        description="blocks of the compact layout: at a quarter, an eighth, a quarter",
    )
    noise_channels: int = Field(
        default=0, ge=0, le=64, description="channels of the compact layout's noise"
    )
    loss_network: str = "vgg19"
    content_layers: LayerWeights = {"relu4_1": 1.0}
    style_layers: LayerWeights = {f"relu{block}_1": 1.0 for block in range(1, 6)}
    content_weight: Weight = 1.0
    style_weight: Weight = 10.0
    bold_style_weight: float | None = Field(
        default=None, gt=0, description="style weight of bold vectors; default: no bold vectors"
    )
    variation_weight: Weight = 0.2
    checkerboard_weight: Weight = Field(
        default=0.1, description="penalty on the pixel grid of upsampling"
    )
    blocking_weight: Weight = Field(
        default=0.0, description="penalty on figures that the network stamps into its blocks"
    )
    pattern_weight: Weight = Field(
        default=0.0, description="penalty on regular patterns of any period"
    )
    peak_weight: Weight = Field(default=3.0, description="penalty on isolated large activations")
    color_weight: Weight = Field(default=0.0, description="penalty on changes of chroma")
    adversarial_weight: Weight = Field(default=0.0, description="0: no discriminator")
    adversarial_loss: LossName = "hinge"
    discriminator_widths: list[Width] = Field(
        default=[32, 64, 96], min_length=1, max_length=8, description="channels after each halving"
    )
    discriminator_scales: int = Field(
        default=2, ge=1, le=4, description="discriminators, each at half the size of the one before"
    )
    discriminator_learning_rate: float = Field(default=1e-3, gt=0, description="first rate of Adam")
    gradient_penalty: Weight | None = Field(default=None, description="default: the loss's")
    spectral_norm: bool | None = Field(default=None, description="default: the loss's")
    painting_size: int = Field(default=512, ge=64, description="shorter side, pixels")
    enlarged_share: float = Field(
        default=0.0, ge=0, le=1, description="share of the crops that are cut smaller and enlarged"
    )
    learning_rate: float = Field(
        default=0.02, gt=0, description="peak rate of Muon, for the convolutions"
    )
    other_learning_rate: float = Field(
        default=1.5e-3, gt=0, description="peak rate of Adam, for biases and depthwise kernels"
    )
    style_learning_rate: float = Field(
        default=1e-2, gt=0, description="peak rate of Adam, for the style vectors"
    )
    warmup: float = Field(
        default=0.1, gt=0, lt=1, description="share of the steps in which the rates rise"
    )
    clip_norm: float = Field(default=1.0, gt=0)
    seed: int = 0

    @property
    def network_layout(self) -> Layout:
        """The layout that the network's settings describe."""
        kind = JohnsonLayout if self.layout == "johnson" else CompactLayout
        names = kind.model_fields.keys() - {"name"}
        return kind(**self.model_dump(include=names))

    @model_validator(mode="after")
    def _crops_fit_the_layout(self) -> "Recipe":
        if self.layout == "compact" and any(c % 8 or c < 64 for p in self.phases for c in p.crop):
            raise ValueError("crops of the compact layout must be multiples of 8 from 64 up")
        return self

    @model_validator(mode="after")
    def _pictures_fit_the_discriminator(self) -> "Recipe":
        least = 2 ** (len(self.discriminator_widths) + self.discriminator_scales - 1)
        sides = [*(c for p in self.phases for c in p.crop), *self.painting_sizes]
        if self.adversarial_weight and min(sides) < least:
            raise ValueError(
                f"crops and painting_size must be at least {least} for this many "
                "discriminator_widths and discriminator_scales"
            )
        return self

    @model_validator(mode="after")
    def _boldness_has_a_ratio(self) -> "Recipe":
        if self.adversarial_weight and self.bold_style_weight and not self.style_weight:
            raise ValueError(
                "bold_style_weight needs a style_weight above 0, to which it is relative; "
                "to fit without Gram matrices, set the style_weight of every style to 0"
            )
        return self

    @property
    def adversary(self) -> AdversarialLoss:
        """The adversarial loss."""
        return LOSSES[self.adversarial_loss]

    @property
    def painting_sizes(self) -> list[int]:
        """The shorter side in pixels to which each style's painting is resized."""
        return [style.painting_size or self.painting_size for style in self.styles]

    @property
    def style_weights(self) -> list[float]:
        """The weight of the style loss for each style."""
        weights = [style.style_weight for style in self.styles]
        return [self.style_weight if weight is None else weight for weight in weights]

    @property
    def bold_ratio(self) -> float:
        """The weights of style and adversary of bold vectors over those of default ones."""
        if self.bold_style_weight is None:
            return 1.0
        return self.bold_style_weight / max(self.style_weight, 1e-6)

    @property
    def steps(self) -> int:
        """The number of steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """Return the phase of a step, counted from 0; past the end, the last phase."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


DEFAULTS: dict[str, Any] = {name: setting.default for name, setting in Recipe.model_fields.items()}


def read_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a TOML recipe; `overrides` are `key=value` with a TOML value, such as `width=16`.

    Raises RecipeError.
    """
    return read_settings(path, overrides, Recipe)


def read_settings(path: Path, overrides: Iterable[str], kind: type[Settings]) -> Settings:
    """Read a TOML recipe of another kind. Raises RecipeError."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"override {override!r} is not of the form key=value")
        values[key.strip()] = _toml_value(value.strip())
    values.setdefault("name", path.stem)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = (
            f"  {'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()
        )
        raise RecipeError("\n".join([f"{path} is not a valid recipe:", *lines])) from error


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string
