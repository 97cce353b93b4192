"""Write a newly fitted style to its model folder, or to a new one with its own network."""

from dataclasses import dataclass
from pathlib import Path

from app.model_folder import StyleCard, read_folder, write_style
from training.fit.added_style import FittedStyle, StyleRequest, check_request, fit_style
from training.fit.checkpoint import read_checkpoint
from training.graphs.folder import export, write_preview
from training.graphs.parity import Pixels, parity_photos
from training.graphs.provenance import provenance


@dataclass(frozen=True)
class AddedStyle:
    """The file of the new style, and its fit."""

    path: Path
    fitted: FittedStyle


def add_style(request: StyleRequest) -> AddedStyle:
    """Fit a style and write it, with `unfreeze` to a new model folder.

    Raises TrainingError, ModelFolderError, DeviceUnavailable; nothing is written then.
    """
    check_request(request)
    photos = parity_photos(request.photos) if request.new_network is not None else []
    fitted = fit_style(request)
    target = request.network
    if request.new_network is not None:
        target = request.new_network
        _export_unfrozen(request, fitted, target, photos)
    style, recipe = fitted.state.recipe.styles[0], fitted.state.recipe
    # The preview first: a server may read the folder at any time.
    write_preview(target, style.id, fitted.network, fitted.vector, fitted.sample)
    card = StyleCard(
        **style.model_dump(include={"title", "artist", "year", "license"}),
        painting_size=recipe.painting_sizes[0],
        style_weight=recipe.style_weights[0],
        quality=fitted.after.by_side(),
    )
    bold = None if fitted.bold is None else fitted.bold.numpy()
    path = write_style(target, style.id, fitted.vector.numpy(), card, bold)
    # Without its checkpoints, the same command with --force starts a new fit.
    for checkpoint in (request.checkpoint, request.unfrozen_checkpoint):
        checkpoint.unlink(missing_ok=True)
    return AddedStyle(path, fitted)


def _export_unfrozen(
    request: StyleRequest, fitted: FittedStyle, target: Path, photos: list[Pixels]
) -> None:
    before = read_folder(request.network).card.fitted.get("data", "unknown")
    data = f"{fitted.photos:,} photographs; before: {before}"
    recipe = fitted.state.recipe
    record = provenance(read_checkpoint(request.unfrozen_checkpoint), recipe, data)
    export(fitted.state.model, recipe, target, photos, record)
