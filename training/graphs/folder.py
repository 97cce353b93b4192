"""Write model folders: graphs, weights, styles, previews and the card."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from app.model_folder import (
    CARD,
    WEIGHTS,
    Card,
    StyleCard,
    pattern,
    read_card,
    read_folder,
    write_atomically,
    write_card,
    write_graph,
    write_reference,
    write_style,
)
from training.fit.checkpoint import load_model, read_checkpoint
from training.fit.data import read_image
from training.fit.networks.styled import StyledNetwork
from training.fit.networks.transform import TransformNetwork
from training.fit.recipe import Recipe
from training.fit.weights import load_network
from training.graphs.parity import Pixels, checked_graphs, paint, parity_photos
from training.graphs.provenance import provenance

PREVIEW_SIDE = 512  # longest side, pixels


def tile_margin(network: TransformNetwork) -> int:
    """Return how many pixels around a tile can affect its inside, in whole strides."""
    reach = network.reach + network.stride - 1  # a pixel can lie anywhere in its stride
    return -(-reach // network.stride) * network.stride


def export_checkpoint(
    source: Path, folder: Path, photos: Path, sample: Path | None = None, data: str | None = None
) -> Card:
    """Export a checkpoint file to a model folder; return its card.

    photos: folder of photos to check the graphs on. sample: photo for the previews. data: what the
    network was fitted on, for the card. Raises TrainingError, ModelFolderError.
    """
    checkpoint = read_checkpoint(source)
    recipe, model = load_model(checkpoint)
    pixels = parity_photos(photos)
    image = read_image(sample) if sample else None
    fitted = provenance(checkpoint, recipe, data or "unknown")
    return export(model, recipe, folder, pixels, fitted, image)


def export(
    model: StyledNetwork,
    recipe: Recipe,
    folder: Path,
    photos: Sequence[Pixels],
    fitted: dict[str, Any],
    sample: Image.Image | None = None,
) -> Card:
    """Check the graphs and write a model folder, the card last; return the card.

    A generator that the folder has is kept. photos: uint8 [H, W, 3], to check the graphs on.
    fitted: for the card. sample: photo for the previews; without one there are no previews. Raises
    ParityError before anything is written, ModelFolderError if the folder has a damaged card.
    """
    generator = read_card(folder).generator if (folder / CARD).exists() else None
    network = model.network.float().eval()
    styles = model.styles.detach().float()
    graphs = write_graphs(folder, network, styles, photos)
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(weights))
    settings = zip(recipe.painting_sizes, recipe.style_weights, strict=True)
    bold = [None] * len(styles) if model.bold is None else list(model.bold.detach().float().numpy())
    vectors = zip(styles, bold, strict=True)
    for style, (size, weight), (vector, bolder) in zip(
        recipe.styles, settings, vectors, strict=True
    ):
        description = style.model_dump(include={"title", "artist", "year", "license"})
        card = StyleCard(**description, painting_size=size, style_weight=weight)
        write_style(folder, style.id, vector.numpy(), card, bolder)
        if sample is not None:
            write_preview(folder, style.id, network, vector, sample)
    network_card = Card(
        name=recipe.name,
        layout=recipe.network_layout.model_dump(mode="json"),
        style_dimension=network.style_dimension,
        stride=network.stride,
        tile_margin=tile_margin(network),
        tile_origin=network.has_noise,
        generator=generator,
        fitted=fitted,
        **graphs,
    )
    write_card(folder, network_card)
    return network_card


def rewrite_graphs(folder: Path, photos: Path) -> Card:
    """Rebuild the graphs of a model folder from its weights and styles; return the new card.

    photos: folder of photos to check the graphs on. Raises ModelFolderError, WeightsError,
    DataError, ParityError.
    """
    pixels = parity_photos(photos)
    found = read_folder(folder)
    styles = torch.stack([torch.from_numpy(style.vector) for style in found.styles.values()])
    graphs = write_graphs(folder, load_network(found).eval(), styles, pixels)
    card = found.card.model_copy(update=graphs)
    write_card(folder, card)
    return card


def write_graphs(
    folder: Path, network: TransformNetwork, styles: Tensor, photos: Sequence[Pixels]
) -> dict[str, Any]:
    """Check and write the graphs and the reference; return their entries for the card.

    styles: [S, D]. photos: uint8 [H, W, 3] each. Raises ParityError before anything is written.
    """
    graphs = checked_graphs(network, styles, photos)
    painted = paint(network, pattern(), styles[:1])
    return {
        "graphs": {
            name: write_graph(folder, f"{name}.onnx", content) for name, content in graphs.items()
        },
        "reference": write_reference(folder, pattern(), styles[:1].numpy(), painted),
    }


def write_preview(
    folder: Path, style_id: str, network: TransformNetwork, vector: Tensor, sample: Image.Image
) -> None:
    """Paint the sample photo in a style [D] and write it to previews/<id>.jpg."""
    image = sample.convert("RGB")
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    pastiche = paint(network, np.asarray(image)[None], vector[None])[0]
    path = folder / "previews" / f"{style_id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.fromarray(pastiche).save(content, "JPEG", quality=88)
    write_atomically(path, content.getvalue())
