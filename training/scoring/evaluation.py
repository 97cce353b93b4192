"""Evaluate a model folder: find its recipe, measure its styles, store and print the metrics."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from pydantic import ValidationError

from app.model_folder import ModelFolder, read_folder, write_style
from training.fit.data import SUFFIXES, DataError, find_photos, read_image
from training.fit.device import pick_device
from training.fit.features import VGG_NAMES, LossNetworkError
from training.fit.recipe import Recipe, RecipeError, read_recipe
from training.scoring.artifacts import LIMITS, within_limits
from training.scoring.curves import Curves
from training.scoring.metrics import Metrics, Plan, measure
from training.scoring.style_sheet import style_sheet

LARGE = 1024  # pixels; from this side up, fewer photos are measured
SHEET_PHOTOS, SHEET_SIDE = 4, 256
# The settings of a recipe that affect the metrics.
MEASURING = {
    "loss_network", "content_layers", "style_layers", "content_weight", "style_weight",
    "painting_size",
}  # fmt: skip


@dataclass(frozen=True)
class EvaluationRequest:
    """The arguments of `training.evaluate`. See its help.

    every, every_large: measure every Nth photo; of those, every Nth from LARGE pixels up.
    """

    folder: Path
    photos: Path
    paintings: Path
    recipe: Path | None = None
    loss_network: str | None = None
    second_network: str | None = None
    styles: Sequence[str] | None = None
    sides: Sequence[int] = (256, 512, 1024)
    every: int = 1
    every_large: int = 4
    equivalents_at: Sequence[int] = (256, 512)
    most_evaluations: int = 100
    curves: Path | None = None
    device: str = "auto"
    json: Path | None = None
    sheet: Path | None = None
    store: bool = False


@dataclass(frozen=True)
class Evaluation:
    """The metrics of every style, and how many photos were measured, by side."""

    metrics: Metrics
    photos: Mapping[int, int]


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Measure the styles of a model folder and write what the request asks for.

    Raises TrainingError, ModelFolderError, DeviceUnavailable.
    """
    folder = read_folder(request.folder)
    recipe = _recipe(folder, request)
    photos = find_photos(request.photos)[:: request.every]
    large = photos[:: request.every_large]
    plan = Plan(
        photos={side: large if side >= LARGE else photos for side in request.sides},
        iterations_at=request.equivalents_at,
        max_evaluations=request.most_evaluations,
        curves=Curves(request.curves),
        second_network=request.second_network or available_second_network(recipe.loss_network),
        device=str(pick_device(request.device)),
    )
    metrics = measure(folder, recipe, request.paintings, plan)
    if request.sheet:
        some = photos[:: max(1, len(photos) // SHEET_PHOTOS)][:SHEET_PHOTOS]
        pictures = [read_image(path) for path in some]
        sheet = style_sheet(folder.path, pictures, SHEET_SIDE, list(metrics))
        request.sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(request.sheet, quality=88)
    if request.store:
        store(folder, metrics)
    if request.json:
        settings = recipe.model_dump(include=MEASURING)
        settings |= {"second_network": plan.second_network}
        settings |= {"most_evaluations": plan.max_evaluations}
        request.json.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"judged": settings, "styles": metrics}, indent=2)
        request.json.write_text(content + "\n")
    return Evaluation(metrics, {side: len(used) for side, used in plan.photos.items()})


def card_recipe(folder: ModelFolder, ids: Iterable[str], paintings: Path) -> Recipe:
    """Return the recipe in the folder's card, for some of its styles.

    The painting of a style is the file in `paintings` whose stem is the style's id. Raises
    RecipeError, DataError.
    """
    fitted = folder.card.fitted.get("recipe")
    if not isinstance(fitted, dict):
        raise RecipeError(f"{folder.path}: the card contains no recipe; give one with --recipe")
    # The phases have no effect here, but a recipe needs them.
    values: dict[str, Any] = {key: fitted[key] for key in (MEASURING | {"phases"}) & fitted.keys()}
    files = {p.stem: p.name for p in paintings.glob("*") if p.suffix.lower() in SUFFIXES}
    if missing := set(ids) - files.keys():
        raise DataError(
            f"no painting in {paintings} is named {', '.join(sorted(missing))}; name the files "
            "after the ids of the styles, or use --recipe or --styles"
        )
    values["styles"] = [
        {"id": id, "painting": files[id]}
        | folder.styles[id].card.model_dump(include={"title", "painting_size", "style_weight"})
        for id in ids
    ]
    try:
        return Recipe.model_validate({"name": folder.card.name, **values})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(
            f"{folder.path}: the card's recipe is invalid: {place}: {first['msg']}"
        ) from error


def available_second_network(first: str) -> str | None:
    """Return another VGG of torchvision if its weights are cached here; download nothing."""
    name = "vgg19" if first == "vgg16" else "vgg16"
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    return name if (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file() else None


def store(folder: ModelFolder, metrics: Metrics) -> None:
    """Add the metrics to the metadata of the style files; metrics of other sides stay."""
    for style_id, quality in metrics.items():
        style = folder.styles[style_id]
        card = style.card.model_copy(update={"quality": {**style.card.quality, **quality}})
        write_style(folder.path, style_id, style.vector, card)


def table(metrics: Metrics, side: int) -> str:
    """Format the metrics at one side, one line per style. `*` marks values outside the limits."""
    names = ["content", "style", "objective", "iterations", "objective_second", *LIMITS]
    lines = ["".join(f"{name:>17}" for name in [f"{side} px", *names])]
    for style_id, row in metrics.items():
        cells = [_cell(row, name, side) for name in names]
        lines.append("".join(f"{cell:>17}" for cell in [style_id[:16], *cells]))
    return "\n".join(lines)


def _cell(row: dict[str, float], name: str, side: int) -> str:
    value = row.get(f"{name}_{side}")
    if value is None:
        return "not available" if name == "objective_second" else "-"
    if name == "iterations":
        # If half of the searches hit the limit, the median is only a lower bound.
        return f"{'>=' if row[f'capped_{side}'] >= 0.5 else ''}{value:g}"
    return f"{value:.4f}" + ("" if name not in LIMITS or within_limits(name, value) else " *")


def _recipe(folder: ModelFolder, request: EvaluationRequest) -> Recipe:
    if request.recipe:
        recipe = read_recipe(request.recipe)
        ids = request.styles or [style.id for style in recipe.styles]
        _check_ids(ids, {style.id for style in recipe.styles}, request.recipe)
        _check_ids(ids, folder.styles, folder.path)
        styles = [style for style in recipe.styles if style.id in ids]
        recipe = recipe.model_copy(update={"styles": styles})
    else:
        ids = request.styles or list(folder.styles)
        _check_ids(ids, folder.styles, folder.path)
        recipe = card_recipe(folder, ids, request.paintings)
    if request.loss_network:
        return recipe.model_copy(update={"loss_network": request.loss_network})
    if recipe.loss_network not in VGG_NAMES and not Path(recipe.loss_network).is_file():
        raise LossNetworkError(
            f"the loss network {recipe.loss_network!r} does not exist; give its file, or "
            f"{' or '.join(VGG_NAMES)}, with --loss-network"
        )
    return recipe


def _check_ids(ids: Iterable[str], known: Collection[str], place: Path) -> None:
    if missing := set(ids) - set(known):
        raise RecipeError(
            f"{place} has no style {', '.join(sorted(missing))}; it has {', '.join(sorted(known))}"
        )
