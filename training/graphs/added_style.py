"""Write a newly fitted style to its model folder, or to a new one with its own network."""

from dataclasses import dataclass
from pathlib import Path

from app.model_folder import (
    WEIGHTS,
    Card,
    StyleCard,
    read_card,
    read_folder,
    write_atomically,
    write_card,
    write_style,
)
from training.fit.added_style import (
    FittedStyle,
    StyleRequest,
    WorseError,
    check_request,
    fit_style,
)
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
    """Fit a style and write it, to the network's folder or to a new one.

    Raises TrainingError, ModelFolderError, DeviceUnavailable; nothing is written then. After a
    WorseError, the next fit starts anew.
    """
    check_request(request)
    photos = parity_photos(request.photos) if request.unfreeze is not None else []
    try:
        fitted = fit_style(request)
    except WorseError:
        _remove_checkpoints(request)
        raise
    target, copied = request.new_network or request.network, None
    if request.unfreeze is not None:
        _export_unfrozen(request, fitted, target, photos)
    elif request.new_network is not None:
        copied = _copy_network(request.network, target)
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
    if copied is not None:
        write_card(target, copied)
    _remove_checkpoints(request)
    return AddedStyle(path, fitted)


def _remove_checkpoints(request: StyleRequest) -> None:
    # Without them, the same command with --force starts a new fit.
    for checkpoint in (request.checkpoint, request.unfrozen_checkpoint):
        checkpoint.unlink(missing_ok=True)


def _copy_network(source: Path, target: Path) -> Card:
    """Copy a network without its styles; return its card, to be written last."""
    card = read_card(source).model_copy(update={"generator": None})
    files = [entry.file for entry in (*card.graphs.values(), card.reference) if entry is not None]
    for file in (*files, WEIGHTS):
        write_atomically(target / file, (source / file).read_bytes())
    return card


def _export_unfrozen(
    request: StyleRequest, fitted: FittedStyle, target: Path, photos: list[Pixels]
) -> None:
    before = read_folder(request.network).card.fitted.get("data", "unknown")
    data = f"{fitted.photos:,} photographs; before: {before}"
    recipe = fitted.state.recipe
    record = provenance(read_checkpoint(request.unfrozen_checkpoint), recipe, data)
    export(fitted.state.model, recipe, target, photos, record)
