"""Fit one more style vector for a network that is already fitted."""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from app.model_folder import STYLE_ID, ModelFolder, read_folder
from training.fit.adversarial.loss import LossName
from training.fit.checkpoint import CHECKPOINT, TrainState, initial_state
from training.fit.collapse import CollapseError
from training.fit.data import DataError, find_photos, load_paintings, read_image
from training.fit.device import pick_device
from training.fit.errors import TrainingError
from training.fit.features import VGG_NAMES, LossNetworkError
from training.fit.losses import PerceptualLoss
from training.fit.networks.transform import TransformNetwork
from training.fit.objective import perceptual_loss
from training.fit.previews import sheet_crops
from training.fit.recipe import Recipe, RecipeError
from training.fit.session import FitOptions, fit
from training.fit.validation import ValidationLoss, held_out_crops, nearest_vector, validate
from training.fit.weights import load_network

ADVERSARIAL_WEIGHT = 2.0
UNFROZEN_RATE = 0.1  # learning rates of an unfrozen fit, as a share of the recipe's
MEAN = "the mean of all styles"
# The settings that a new style takes from the fit of its network.
INHERITED = {
    "loss_network", "content_layers", "style_layers", "painting_size", "enlarged_share",
    "clip_norm",
    *(name for name in Recipe.model_fields if name.endswith("_weight")),
} - {"adversarial_weight"}  # fmt: skip
# The settings that `adversarial` brings into effect, and the options for them.
ADVERSARIAL = {
    "adversarial_weight": "--adversarial-weight",
    "adversarial_loss": "--adversarial-loss",
    "discriminator_scales": "--discriminator-scales",
    "discriminator_learning_rate": "--discriminator-rate",
}
# The option of `training.add_style` that sets each setting of a recipe, for error messages.
OPTIONS = {name: f"--{name}" for name in ("steps", "crop", "batch", "id", "title", "year")} | {
    "style_learning_rate": "--rate",
    "painting_size": "--painting-size",
    "style_weight": "--style-weight",
    "color_weight": "--color-weight",
    "name": "--new-network",
    **ADVERSARIAL,
}


class StyleError(TrainingError):
    """The style cannot be added; the message says why and what is allowed."""


class WorseError(TrainingError):
    """The fitted vector has a higher objective than the one that the fit started from."""

    exit_status = 3


@dataclass(frozen=True)
class StyleRequest:
    """The arguments of `training.add_style`. See its help.

    id and title default to the painting's file name. painting_size, style_weight and loss_network
    default to those of the network's fit. adversarial: also fit against discriminators; their
    settings default to those of a recipe.
    """

    painting: Path
    network: Path
    photos: Path
    id: str | None = None
    title: str | None = None
    artist: str = "unknown"
    year: int | None = None
    license: str = "unknown"
    steps: int = 150
    crop: list[int] = field(default_factory=lambda: [192])
    batch: int = 4
    rate: float = 0.02
    painting_size: int | None = None
    style_weight: float | None = None
    loss_network: str | None = None
    adversarial: bool = False
    adversarial_weight: float | None = None
    adversarial_loss: LossName | None = None
    discriminator_scales: int | None = None
    discriminator_rate: float | None = None
    color_weight: float | None = None
    sample: Path | None = None
    device: str = "auto"
    workers: int = 2
    out: Path | None = None
    force: bool = False
    unfreeze: int | None = None
    new_network: Path | None = None

    @property
    def style_id(self) -> str:
        """The id of the new style; may be invalid."""
        return id_from(self.painting) if self.id is None else self.id

    @property
    def run_folder(self) -> Path:
        """The folder for the checkpoint and the preview sheets."""
        return self.out or Path("runs") / self.style_id

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the fit of the vector."""
        return self.run_folder / CHECKPOINT

    @property
    def unfrozen_checkpoint(self) -> Path:
        """The checkpoint of the fit of the whole network that `unfreeze` asks for."""
        return self.run_folder / "unfrozen" / CHECKPOINT


@dataclass(frozen=True)
class FittedStyle:
    """The result of a fit.

    state: the last one, on the CPU. sample: photo for the preview. before, after: the losses of the
    starting vector and of the fitted one.
    """

    state: TrainState
    sample: Image.Image
    photos: int
    before: ValidationLoss
    after: ValidationLoss

    @property
    def network(self) -> TransformNetwork:
        """The network of the style."""
        return self.state.model.network

    @property
    def vector(self) -> Tensor:
        """The style vector, [D]."""
        return self.state.model.styles.detach()[0]

    @property
    def bold(self) -> Tensor | None:
        """The bold vector, [D], if the network's fit had bold vectors."""
        bold = self.state.model.bold
        return None if bold is None else bold.detach()[0]


def id_from(painting: Path) -> str:
    """Derive a style id from a file name: `Café, nuit.jpg` gives `cafe_nuit`; may be empty."""
    plain = unicodedata.normalize("NFKD", painting.stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:64]


def check_request(request: StyleRequest) -> None:
    """Raise StyleError if the style's id or its options are invalid or its destination exists."""
    if not request.adversarial and (given := adversarial_settings(request)):
        raise StyleError(f"{ADVERSARIAL[next(iter(given))]} needs --adversarial")
    style_id, target = request.style_id, request.new_network
    if not re.fullmatch(STYLE_ID, style_id):
        raise StyleError(
            f"{style_id!r} is not a style id: a-z, 0-9 and _, at most 64 characters, not starting "
            "with _; choose one with --id"
        )
    if request.unfreeze is not None and target is None:
        raise StyleError("--unfreeze needs --new-network")
    if target is not None:
        if target.exists():
            raise StyleError(
                f"--new-network: {target} already exists; to add to it, name it with --network"
            )
        return
    exists = (request.network / "styles" / f"{style_id}.safetensors").exists()
    if exists and not request.force:
        raise StyleError(
            f"{request.network} already has a style {style_id}; choose another --id, or use "
            "--force to replace it"
        )


def adversarial_settings(request: StyleRequest) -> dict[str, Any]:
    """Return the adversary's settings that the request gives, by their names in a recipe."""
    given = {
        "adversarial_weight": request.adversarial_weight,
        "adversarial_loss": request.adversarial_loss,
        "discriminator_scales": request.discriminator_scales,
        "discriminator_learning_rate": request.discriminator_rate,
    }
    return {name: value for name, value in given.items() if value is not None}


def fit_style(request: StyleRequest) -> FittedStyle:
    """Fit the vector of a new style, and with `unfreeze` then the whole network.

    Resumes from the checkpoints in `request.run_folder`. Expects a request that passed
    `check_request`. Raises WorseError if the objective on held-out crops has grown, unless there is
    an adversary, whose judgement the objective leaves out; TrainingError, ModelFolderError,
    DeviceUnavailable.
    """
    folder, photos = read_folder(request.network), find_photos(request.photos)
    recipe, device = style_recipe(request, folder), pick_device(request.device)
    unfrozen = None if request.unfreeze is None else unfrozen_recipe(recipe, request)
    loss = perceptual_loss(recipe, Path(), device)
    paintings = load_paintings(recipe, Path()) if recipe.adversarial_weight else []
    sample = read_image(request.sample) if request.sample else _first_readable(photos)
    sheet_photos, crops = sheet_crops(photos), held_out_crops(photos, recipe, device)
    request.run_folder.mkdir(parents=True, exist_ok=True)
    options = FitOptions(workers=request.workers)

    state, start = frozen_state(recipe, folder, request.checkpoint, loss, crops)
    before = validate(state.model.network, start, loss, recipe, crops)
    fit(state, loss, photos, request.run_folder, sheet_photos, options, paintings=paintings)
    if unfrozen is not None:
        state, path = initial_state(unfrozen, device), request.unfrozen_checkpoint
        path.parent.mkdir(exist_ok=True)
        if path.exists():
            state.resume(path)
        else:
            state.start_from(request.checkpoint)
        fit(state, loss, photos, path.parent, sheet_photos, options, paintings=paintings)

    vector = state.model.styles.detach()[0]
    after = validate(state.model.network, vector, loss, state.recipe, crops)
    state.model.cpu()
    finite = all(map(math.isfinite, vars(after).values()))
    if not (finite and state.model.styles.isfinite().all()):
        raise CollapseError("the last step produced NaN: lower the learning rate")
    if not recipe.adversarial_weight and after.objective > before.objective:
        raise WorseError(
            "the style is worse than the one that the fit started from: an objective of "
            f"{after.objective:.4f} after {before.objective:.4f} on held-out photos; nothing was "
            "written. Try a lower --rate or more --steps"
        )
    return FittedStyle(state, sample, len(photos), before, after)


def style_recipe(request: StyleRequest, folder: ModelFolder) -> Recipe:
    """Return the recipe of the fit; the card supplies what the request leaves open.

    Raises RecipeError with the option to change, LossNetworkError if the loss network is missing.
    """
    fitted = folder.card.fitted.get("recipe", {})
    values: dict[str, Any] = {key: fitted[key] for key in INHERITED & fitted.keys()} | {
        "name": request.style_id,
        **_layout_settings(folder.card.layout),
        "phases": [_phase(request, request.steps)],
        "style_learning_rate": request.rate,
    }
    style = {key: getattr(request, key) for key in ("artist", "year", "license", "style_weight")}
    title = request.title or request.painting.stem.replace("_", " ").title()
    painting = str(request.painting.resolve())
    values["styles"] = [{"id": request.style_id, "painting": painting, "title": title, **style}]
    for name in ("painting_size", "loss_network", "color_weight"):
        if (value := getattr(request, name)) is not None:
            values[name] = value
    if request.adversarial:
        values |= {"adversarial_weight": ADVERSARIAL_WEIGHT} | adversarial_settings(request)
    recipe = _recipe(values, OPTIONS)
    if recipe.loss_network not in VGG_NAMES and not Path(recipe.loss_network).is_file():
        raise LossNetworkError(
            f"the loss network {recipe.loss_network!r} does not exist; give its file, or "
            f"{' or '.join(VGG_NAMES)}, with --loss-network"
        )
    return recipe


def unfrozen_recipe(recipe: Recipe, request: StyleRequest) -> Recipe:
    """Return the recipe of the fit of the whole network that follows. Raises RecipeError."""
    assert request.new_network is not None
    assert request.unfreeze is not None
    changes = {
        "name": request.new_network.name,
        "phases": [_phase(request, request.unfreeze)],
        "learning_rate": UNFROZEN_RATE * recipe.learning_rate,
        "style_learning_rate": UNFROZEN_RATE * recipe.style_learning_rate,
    }
    return _recipe(recipe.model_dump() | changes, OPTIONS | {"steps": "--unfreeze"})


def frozen_state(
    recipe: Recipe, folder: ModelFolder, checkpoint: Path, loss: PerceptualLoss, crops: Tensor
) -> tuple[TrainState, Tensor]:
    """Return the state of a fit of the vector alone, and the vector [D] that the fit starts from.

    That is the style of the folder that is best on `crops`, or the mean of all. The state is the
    checkpoint's, if it exists. The device is that of `crops`. Raises StyleError, RecipeError,
    WeightsError.
    """
    network, state = load_network(folder), initial_state(recipe, crops.device)
    state.model.network.requires_grad_(False)
    fitted = folder.card.fitted
    if "loss_network" in fitted.get("recipe", {}):
        names = {"recipe", "steps", "seconds"} & fitted.keys()
        state.earlier = [*fitted.get("earlier", []), {name: fitted[name] for name in names}]
    resumed = checkpoint.exists()
    if resumed:
        state.resume(checkpoint)
        _check_same_network(state, network, checkpoint, folder)
    else:
        state.model.network.load_state_dict(network.state_dict())
    vectors = start_vectors(folder, crops.device)
    # A fit without Gram matrices starts from the style with the nearest ones too.
    usual = recipe.styles[0].model_copy(update={"style_weight": None})
    measuring = recipe.model_copy(update={"styles": [usual]})
    name = nearest_vector(state.model.network, vectors, loss, measuring, crops)
    print(f"resuming at step {state.step}" if resumed else f"starting from {name}", flush=True)
    for parameter in (state.model.styles, state.model.bold):
        if parameter is not None and not resumed:
            parameter.data.copy_(vectors[name])
    return state, vectors[name]


def start_vectors(folder: ModelFolder, device: torch.device) -> Mapping[str, Tensor]:
    """Return the vectors [D] that a fit can start from: every style of the folder, their mean."""
    vectors = {i: torch.from_numpy(style.vector).to(device) for i, style in folder.styles.items()}
    return vectors | {MEAN: torch.stack(list(vectors.values())).mean(0)}


def _check_same_network(
    state: TrainState, network: TransformNetwork, checkpoint: Path, folder: ModelFolder
) -> None:
    weights = state.model.network.state_dict()
    if not all(torch.equal(weights[k].cpu(), v) for k, v in network.state_dict().items()):
        raise StyleError(
            f"{checkpoint} was fitted on another network than {folder.path}; "
            "choose another --out, or move it away"
        )


def _layout_settings(layout: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a recipe for a layout as a card states it."""
    return {"layout": layout["name"], **{k: v for k, v in layout.items() if k != "name"}}


def _phase(request: StyleRequest, steps: int) -> dict[str, Any]:
    return {"steps": steps, "crop": request.crop, "batch": request.batch}


def _recipe(values: dict[str, Any], options: Mapping[str, str]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        named = [options[part] for part in place if part in options]
        raise RecipeError(f"{named[-1] if named else '.'.join(place)}: {first['msg']}") from error


def _first_readable(photos: list[Path]) -> Image.Image:
    for photo in photos:
        try:
            return read_image(photo)
        except DataError as error:
            last = error
    raise DataError(f"none of the {len(photos)} photos can be read; {last}")
