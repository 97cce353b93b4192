"""Add a style to a fitted network: fit its vector alone, the network stays as it is.

    python -m training.add_style PAINTING --network models/gallery --photos DIR

A network that knows some styles paints another by its vector alone (Dumoulin et al.,
arXiv:1610.07629). Running the same command again resumes. With --unfreeze the fit goes on with the
whole network; as that would change all its styles, the one goes into a model folder of its own.
"""

import argparse
import math
import re
import signal
import sys
import unicodedata
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from app.errors import DeviceUnavailable, ModelFolderError
from app.model_folder import STYLE_ID, ModelFolder, StyleCard, read_folder, write_style
from training.export import ParityError, export, parity_photos, provenance, write_preview
from training.fit.checkpoint import CHECKPOINT, Run, read_checkpoint, read_network, start
from training.fit.data import DataError, find_photos, read_image
from training.fit.features import VGG_NAMES, LossNetworkError
from training.fit.losses import PerceptualLoss
from training.fit.objective import perceptual_loss
from training.fit.previews import sheet_crops
from training.fit.recipe import Recipe, RecipeError
from training.scoring.validate import judge, judged_crops, nearest
from training.train import CollapseError, fit, pick_device

UNFROZEN_RATE = 0.1  # of the rates that a fit from nothing would have
# What a further style takes over from how the network was fitted.
KEPT = {"loss_network", "content_layers", "style_layers", "painting_size", "clip_norm"} | {
    name for name in Recipe.model_fields if name.endswith("_weight")
}
OPTIONS = {name: "--" + name for name in ("steps", "crop", "batch", "id", "title", "year")} | {
    "style_learning_rate": "--rate",
    "painting_size": "--painting-size",
    "style_weight": "--style-weight",
    "name": "--new-network",
}


class StyleError(Exception):
    """The style cannot be added; the message says why and what is allowed."""


def id_of(painting: Path) -> str:
    """A style id from a file's name: `Café, nuit.jpg` is `cafe_nuit`; empty if nothing is left."""
    plain = unicodedata.normalize("NFKD", painting.stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:64]


def style_recipe(options: argparse.Namespace, style_id: str, folder: ModelFolder) -> Recipe:
    """The recipe of a fit of one style, as the network was fitted where its card tells it.

    Raises RecipeError naming the option, LossNetworkError if the loss network is not here.
    """
    told = folder.card.fitted.get("recipe", {})
    values: dict[str, Any] = {key: told[key] for key in KEPT & told.keys()} | {
        "name": style_id,
        "width": folder.card.width,
        "residual_blocks": folder.card.residual_blocks,
        "phases": [_phase(options, options.steps)],
        "style_learning_rate": options.rate,
    }
    style = {key: getattr(options, key) for key in ("artist", "year", "license")}
    title = options.title or options.painting.stem.replace("_", " ").title()
    painting = str(options.painting.resolve())
    values["styles"] = [{"id": style_id, "painting": painting, "title": title, **style}]
    for name in ("painting_size", "style_weight", "loss_network"):
        if (value := getattr(options, name)) is not None:
            values[name] = value
    recipe = _checked(values, OPTIONS)
    if recipe.loss_network not in VGG_NAMES and not Path(recipe.loss_network).is_file():
        raise LossNetworkError(
            f"there is no loss network {recipe.loss_network!r} here; name the file with "
            f"--loss-network, or {' or '.join(VGG_NAMES)}"
        )
    return recipe


def _phase(options: argparse.Namespace, steps: int) -> dict[str, Any]:
    return {"steps": steps, "crop": options.crop, "batch": options.batch}


def _checked(values: dict[str, Any], names: dict[str, str]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        named = [names[part] for part in place if part in names]
        raise RecipeError(f"{named[-1] if named else '.'.join(place)}: {first['msg']}") from error


def frozen_run(
    recipe: Recipe,
    folder: ModelFolder,
    out: Path,
    loss: PerceptualLoss,
    crops: Tensor,
    device: torch.device,
) -> Run:
    """A run that fits the vector alone: from the checkpoint in `out`, if there is one.

    Else from the vector of the style that does best here, or from the mean of all vectors. Raises
    StyleError, RecipeError.
    """
    network, run = read_network(folder), start(recipe, device)
    run.gallery.network.requires_grad_(False)
    fitted = folder.card.fitted
    if "loss_network" in fitted.get("recipe", {}):
        names = {"recipe", "steps", "seconds"} & fitted.keys()
        run.earlier = [*fitted.get("earlier", []), {name: fitted[name] for name in names}]
    if (out / CHECKPOINT).exists():
        run.resume(out / CHECKPOINT)
        held = run.gallery.network.state_dict()
        if not all(torch.equal(held[k].cpu(), v) for k, v in network.state_dict().items()):
            raise StyleError(
                f"{out / CHECKPOINT} was fitted on another network than {folder.path}; "
                "name another --out, or move it away"
            )
        print(f"resumes at step {run.step}", flush=True)
        return run
    run.gallery.network.load_state_dict(network.state_dict())
    vectors = {i: torch.from_numpy(style.vector).to(device) for i, style in folder.styles.items()}
    vectors["the mean of all styles"] = torch.stack(list(vectors.values())).mean(0)
    name = nearest(run.gallery.network, vectors, loss, recipe, crops)
    print(f"starts from {name}", flush=True)
    run.gallery.styles.data.copy_(vectors[name])
    return run


def unfrozen_recipe(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe by which --unfreeze goes on from a fit of the vector. Raises RecipeError."""
    changes = {
        "name": options.new_network.name,
        "phases": [_phase(options, options.unfreeze)],
        "learning_rate": UNFROZEN_RATE * recipe.learning_rate,
        "style_learning_rate": UNFROZEN_RATE * recipe.style_learning_rate,
    }
    return _checked(recipe.model_dump() | changes, OPTIONS | {"steps": "--unfreeze"})


def add_style(options: argparse.Namespace) -> str:
    """Fit and write the style, or with --unfreeze a new folder; returns what to tell of it.

    Raises StyleError, RecipeError, DataError, LossNetworkError, ModelFolderError, CollapseError,
    ParityError, DeviceUnavailable.
    """
    style_id = id_of(options.painting) if options.id is None else options.id
    _check_place(options, style_id)
    folder, photos = read_folder(options.network), find_photos(options.photos)
    recipe, device = style_recipe(options, style_id, folder), pick_device(options.device)
    whole = None if options.unfreeze is None else unfrozen_recipe(recipe, options)
    loss = perceptual_loss(recipe, Path(), device)
    sample = read_image(options.sample) if options.sample else _first_readable(photos)
    sheet, crops = sheet_crops(photos), judged_crops(photos, recipe, device)
    parity = parity_photos(options.photos) if whole else []
    out: Path = options.out or Path("runs") / style_id
    out.mkdir(parents=True, exist_ok=True)

    run = frozen_run(recipe, folder, out, loss, crops, device)
    before = judge(run.gallery.network, run.gallery.styles.detach()[0], loss, recipe, crops)
    fit(run, loss, photos, out, sheet, workers=options.workers)
    if whole is not None:
        run, unfrozen = start(whole, device), out / "unfrozen"
        unfrozen.mkdir(exist_ok=True)
        if (unfrozen / CHECKPOINT).exists():
            run.resume(unfrozen / CHECKPOINT)
        else:
            run.start_from(out / CHECKPOINT)
        fit(run, loss, photos, unfrozen, sheet, workers=options.workers)

    quality = judge(run.gallery.network, run.gallery.styles.detach()[0], loss, recipe, crops)
    network, vector = run.gallery.cpu().network, run.gallery.styles.detach()[0]
    if not (vector.isfinite().all() and all(map(math.isfinite, quality.values()))):
        raise CollapseError("the last step has led to NaN: lower the learning rate")
    target = options.network
    if whole is not None:
        target = options.new_network
        about = f"{len(photos):,} photographs; before: {folder.card.fitted.get('data', 'not told')}"
        fitted = provenance(read_checkpoint(out / "unfrozen" / CHECKPOINT), run.recipe, about)
        export(run.gallery, run.recipe, target, parity, fitted)
    # Before the style: a server may read the folder at any time.
    write_preview(target, style_id, network, vector, sample)
    told = recipe.styles[0].model_dump(include={"title", "artist", "year", "license"})
    fitted_to = {"painting_size": recipe.painting_size, "style_weight": recipe.style_weight}
    card = StyleCard(**told, **fitted_to, quality=quality)
    path = write_style(target, style_id, vector.numpy(), card)
    for kept in (out / CHECKPOINT, out / "unfrozen" / CHECKPOINT):
        kept.unlink(missing_ok=True)  # so that the same command with --force begins anew
    figures = ", ".join(f"{name} {before[name]} -> {value}" for name, value in quality.items())
    return f"{path}: {run.step} steps in {run.seconds:.0f} s; {figures}"


def _check_place(options: argparse.Namespace, style_id: str) -> None:
    if not re.fullmatch(STYLE_ID, style_id):
        raise StyleError(
            f"{style_id!r} is not a style id: a-z, 0-9 and _, at most 64 characters, not beginning "
            "with _; name one with --id"
        )
    if (options.unfreeze is None) != (options.new_network is None):
        raise StyleError("--unfreeze and --new-network go together")
    if options.new_network is not None:
        if options.new_network.exists():
            raise StyleError(f"--new-network: {options.new_network} is there already")
    elif (options.network / "styles" / f"{style_id}.safetensors").exists() and not options.force:
        raise StyleError(
            f"{options.network} has a style {style_id} already; name another --id, or --force to "
            "replace it"
        )


def _first_readable(photos: list[Path]) -> Image.Image:
    for photo in photos:
        try:
            return read_image(photo)
        except DataError as error:
            last = error
    raise DataError(f"none of the {len(photos)} photos can be read; {last}")


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the style is written, 1 on a clear error, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training.add_style", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("painting", type=Path, help="picture of the painting")
    parser.add_argument("--network", type=Path, required=True, help="model folder to add it to")
    parser.add_argument("--photos", type=Path, required=True, help="folder to fit on, any depth")
    parser.add_argument("--id", help="of the style (from the painting's file name)")
    parser.add_argument("--title", help="of the painting (from its file name)")
    parser.add_argument("--artist", default="unknown")
    parser.add_argument("--year", type=int)
    parser.add_argument("--license", default="unknown", help="of the picture of the painting")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--crop", type=int, nargs="+", default=[192], help="pixels; taken in turn")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.02, help="highest learning rate")
    parser.add_argument("--painting-size", type=int, help="pixels (as the network was fitted)")
    parser.add_argument("--style-weight", type=float, help="more paint (as the network was fitted)")
    parser.add_argument("--loss-network", help="vgg16, vgg19 or a file (as the network was fitted)")
    parser.add_argument("--sample", type=Path, help="photo for the preview (first of --photos)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--workers", type=int, default=2, help="processes that read photos")
    parser.add_argument("--out", type=Path, help="folder for checkpoint and sheet (runs/ID)")
    parser.add_argument("--force", action="store_true", help="replace a style of the same id")
    parser.add_argument("--unfreeze", type=int, metavar="STEPS", help="then fit the whole network")
    parser.add_argument("--new-network", type=Path, help="model folder that --unfreeze writes")
    options = parser.parse_args(arguments)
    # A fit in the background, where shells ignore SIGINT, is stopped like one in front.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        told = add_style(options)
    except CollapseError as error:
        print(f"error: {error} (here: --rate, now {options.rate:g})", file=sys.stderr)
        return 1
    except (
        StyleError,
        RecipeError,
        DataError,
        LossNetworkError,
        ModelFolderError,
        ParityError,
        DeviceUnavailable,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
