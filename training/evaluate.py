"""Judge the served pictures: every style on photos that were not fitted on.

    python -m training.evaluate models/gallery --photos DIR --paintings DIR

Content, style and objective (without total variation) are those of the fit, in float32, on what the
exported graph paints. `iterations` are function evaluations of L-BFGS, from the photo, after which
Gatys' method is as low (Johnson et al., arXiv:1603.08155, figure 5). Artifacts: scoring.artifacts.
"""

import argparse
import json
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from pydantic import ValidationError

from app.errors import DeviceUnavailable, ModelFolderError
from app.model_folder import ModelFolder, read_folder, write_style
from training.fit.data import SMALLEST_PAINTING, SUFFIXES, DataError, find_photos, read_image
from training.fit.features import VGG_NAMES, LossNetworkError
from training.fit.recipe import Recipe, RecipeError, read_recipe
from training.optimize import at_least
from training.scoring.artifacts import LIMITS, within_limits
from training.scoring.curves import Curves
from training.scoring.metrics import Figures, Plan, measure
from training.sheet import contact_sheet
from training.train import pick_device

LARGE = 1024  # pixels; judged on fewer photos from here up
SHEET_PHOTOS, SHEET_SIDE = 4, 256
# What of a recipe says how a picture is judged; the phases only make it whole.
JUDGING = {"loss_network", "content_layers", "style_layers", "content_weight", "style_weight"} | {
    "painting_size",
    "phases",
}


def card_recipe(folder: ModelFolder, ids: Iterable[str], paintings: Path) -> Recipe:
    """The recipe that the card tells, with some of the folder's styles.

    The painting of a style is the file of `paintings` whose stem is the style's id. Raises
    RecipeError, DataError.
    """
    told = folder.card.fitted.get("recipe")
    if not isinstance(told, dict):
        raise RecipeError(f"{folder.path}: the card does not tell the recipe; name it by --recipe")
    values: dict[str, Any] = {key: told[key] for key in JUDGING & told.keys()}
    files = {p.stem: p.name for p in paintings.glob("*") if p.suffix.lower() in SUFFIXES}
    if missing := set(ids) - files.keys():
        raise DataError(
            f"no painting in {paintings} is named {', '.join(sorted(missing))}; name the files "
            "after the styles' ids, or name --recipe, or some --styles"
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
            f"{folder.path}: the card's recipe cannot be used: {place}: {first['msg']}"
        ) from error


def available_second_network(first: str) -> str | None:
    """Another of torchvision's VGGs, if its weights are on this machine; nothing is downloaded."""
    name = "vgg19" if first == "vgg16" else "vgg16"
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    return name if (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file() else None


def store(folder: ModelFolder, figures: Figures) -> None:
    """Keep the figures in the metadata of the style files, beside those of other sides."""
    for style_id, quality in figures.items():
        style = folder.styles[style_id]
        card = style.card.model_copy(update={"quality": {**style.card.quality, **quality}})
        write_style(folder.path, style_id, style.vector, card)


def table(figures: Figures, side: int) -> str:
    """The figures at one side, a style a line. `*` is outside an artefact's limits."""
    names = ["content", "style", "objective", "iterations", "objective_second", *LIMITS]
    lines = ["".join(f"{name:>17}" for name in [f"{side} px", *names])]
    for style_id, row in figures.items():
        cells = [_cell(row, name, side) for name in names]
        lines.append("".join(f"{cell:>17}" for cell in [style_id[:16], *cells]))
    return "\n".join(lines)


def _cell(row: dict[str, float], name: str, side: int) -> str:
    value = row.get(f"{name}_{side}")
    if value is None:
        return "not available" if name == "objective_second" else "-"
    if name == "iterations":
        # Where half of the searches were given up, the median only says so much.
        return f"{'>=' if row[f'capped_{side}'] >= 0.5 else ''}{value:g}"
    return f"{value:.4f}" + ("" if name not in LIMITS or within_limits(name, value) else " *")


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the table is printed, 1 on a clear error, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    one, pixels = at_least(1), at_least(SMALLEST_PAINTING)
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--photos", type=Path, required=True, help="photos it was not fitted on")
    parser.add_argument("--paintings", type=Path, required=True, help="named by the styles' ids")
    parser.add_argument("--recipe", type=Path, help="that it was fitted with (as the card tells)")
    parser.add_argument("--loss-network", help="vgg16, vgg19 or a file (the recipe's)")
    parser.add_argument("--second-network", help="of another kind (torchvision's, if it is here)")
    parser.add_argument("--styles", nargs="+", metavar="ID", help="only these")
    parser.add_argument("--sides", nargs="+", type=pixels, default=[256, 512, 1024], metavar="PX")
    parser.add_argument("--every", type=one, default=1, metavar="N", help="take every Nth photo")
    parser.add_argument(
        "--every-large", type=one, default=4, metavar="N", help=f"of those, from {LARGE} px up"
    )
    parser.add_argument(
        "--equivalents-at", nargs="*", type=pixels, default=[256, 512], metavar="PX",
        help="sides at which Gatys' method is run; none without a number",
    )  # fmt: skip
    parser.add_argument("--most-evaluations", type=one, default=100, help="of Gatys' method")
    parser.add_argument("--curves", type=Path, help="file that keeps what Gatys' method found")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--store", action="store_true", help="keep them in the styles' metadata")
    options = parser.parse_args(arguments)
    try:
        folder = read_folder(options.folder)
        recipe = _recipe(folder, options)
        photos = find_photos(options.photos)[:: options.every]
        large = photos[:: options.every_large]
        plan = Plan(
            {side: large if side >= LARGE else photos for side in options.sides},
            options.equivalents_at,
            options.most_evaluations,
            Curves(options.curves),
            options.second_network or available_second_network(recipe.loss_network),
            str(pick_device(options.device)),
        )
        figures = measure(folder, recipe, options.paintings, plan)
        if options.sheet:
            some = photos[:: max(1, len(photos) // SHEET_PHOTOS)][:SHEET_PHOTOS]
            pictures = [read_image(path) for path in some]
            sheet = contact_sheet(folder.path, pictures, SHEET_SIDE, list(figures))
            options.sheet.parent.mkdir(parents=True, exist_ok=True)
            sheet.save(options.sheet, quality=88)
    except (
        DataError, DeviceUnavailable, LossNetworkError, ModelFolderError, RecipeError
    ) as error:  # fmt: skip
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for side, used in plan.photos.items():
        print(f"{table(figures, side)}\n{len(used)} photos\n")
    if options.store:
        store(folder, figures)
    if options.json:
        told = recipe.model_dump(include={*JUDGING} - {"phases"})
        told |= {"second_network": plan.second_network, "most_evaluations": plan.most_evaluations}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"judged": told, "styles": figures}, indent=2) + "\n")
    return 0


def _recipe(folder: ModelFolder, options: argparse.Namespace) -> Recipe:
    if options.recipe:
        recipe = read_recipe(options.recipe)
        ids = options.styles or [style.id for style in recipe.styles]
        _demand(ids, {style.id for style in recipe.styles}, options.recipe)
        _demand(ids, folder.styles, folder.path)
        styles = [style for style in recipe.styles if style.id in ids]
        recipe = recipe.model_copy(update={"styles": styles})
    else:
        ids = options.styles or list(folder.styles)
        _demand(ids, folder.styles, folder.path)
        recipe = card_recipe(folder, ids, options.paintings)
    if options.loss_network:
        return recipe.model_copy(update={"loss_network": options.loss_network})
    if recipe.loss_network not in VGG_NAMES and not Path(recipe.loss_network).is_file():
        raise LossNetworkError(
            f"there is no loss network {recipe.loss_network!r} here; name the file by "
            f"--loss-network, or {' or '.join(VGG_NAMES)}"
        )
    return recipe


def _demand(ids: Iterable[str], known: Collection[str], place: Path) -> None:
    if missing := set(ids) - set(known):
        raise RecipeError(
            f"{place} has no style {', '.join(sorted(missing))}; it has {', '.join(sorted(known))}"
        )


if __name__ == "__main__":
    sys.exit(main())
