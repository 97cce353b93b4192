"""Export a fitted network and its styles to a model folder.

    python -m training.export runs/gallery/checkpoint.pt models/gallery --photos DIR
    python -m training.export models/gallery --photos DIR    (its graphs anew, all else as it was)

Every graph is compared with PyTorch on photographs of several shapes first; a graph that differs
is not written.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from app.errors import ModelFolderError
from app.model_folder import (
    WEIGHTS,
    Card,
    StyleCard,
    pattern,
    read_folder,
    write_card,
    write_graph,
    write_reference,
    write_style,
)
from training.fit.checkpoint import read_checkpoint, read_network
from training.fit.data import DataError, find_photos, read_image
from training.fit.network import Gallery, TransformNetwork
from training.fit.recipe import Recipe, RecipeError
from training.graphs.transform import build_graph

# (width, height): square, wide, tall, odd, smallest, and larger than any crop that was fitted on
SHAPES = ((256, 256), (401, 263), (251, 377), (16, 16), (17, 333), (1024, 683))
SHARE = 0.999  # of all values that must be within the tolerance
TOLERANCE = {"stylize": 1, "stylize.fp16": 4, "apply": 1}  # grey levels
PREVIEW_SIDE = 512  # longest side, pixels

Pixels = NDArray[np.uint8]


class ParityError(Exception):
    """An exported graph does not paint what PyTorch paints."""


def tile_margin(residual_blocks: int) -> int:
    """How many pixels around a tile its inside can depend on, rounded up to whole strides.

    4 for each 9x9, 1 + 2 for the stride-2 steps, 8 for each residual block, 2 + 1 after upsampling,
    and up to 3 for where a pixel lies in its stride.
    """
    reach = 4 + 1 + 2 + 8 * residual_blocks + 2 + 1 + 4 + 3
    return -(-reach // 4) * 4


@torch.no_grad()
def paint(network: TransformNetwork, image: Pixels, style: Tensor) -> Pixels:
    """What PyTorch paints in float32: image uint8 [N, H, W, 3], style [N, D]; same shape back."""
    planes = torch.tensor(image).permute(0, 3, 1, 2).float() / 255
    pastiche: Tensor = network(planes, style)
    return np.asarray((pastiche * 255).round().byte().permute(0, 2, 3, 1))


def checked_graphs(
    network: TransformNetwork, styles: Tensor, photos: Sequence[Pixels]
) -> dict[str, bytes]:
    """Build all graphs and compare them with PyTorch on photos uint8 [H, W, 3].

    styles: [S, D]. Raises ParityError naming the graph, the shape and the difference.
    """
    names = ("stylize", "stylize.fp16", "freeze", "apply")
    graphs: dict[str, bytes] = {}
    for name in names:
        kind = name.removesuffix(".fp16")
        model = build_graph(network, kind, half=name != kind)  # type: ignore[arg-type]
        graphs[name] = model.SerializeToString(deterministic=True)
    sessions = {
        name: ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
        for name, graph in graphs.items()
    }
    for number, photo in enumerate(photos):
        image, style = photo[None], styles[number % len(styles)][None]
        expected = paint(network, image, style)
        vector = style.numpy()
        frozen = sessions["freeze"].run(None, {"image": image, "style": vector})[0]
        painted = {
            name: sessions[name].run(None, {"image": image, "style": vector})[0]
            for name in ("stylize", "stylize.fp16")
        }
        painted["apply"] = sessions["apply"].run(None, {"image": image, "frozen": frozen})[0]
        for name, tolerance in TOLERANCE.items():
            difference = np.abs(painted[name].astype(np.int16) - expected)
            share = float((difference <= tolerance).mean())
            if share < SHARE:
                raise ParityError(
                    f"{name}: on a photo of {photo.shape[1]}x{photo.shape[0]} only {share:.2%} of "
                    f"values are within {tolerance} of PyTorch's (most {difference.max()}); "
                    "nothing was written"
                )
    return graphs


def export(
    gallery: Gallery,
    recipe: Recipe,
    folder: Path,
    photos: Sequence[Pixels],
    fitted: dict[str, Any],
    sample: Image.Image | None = None,
) -> Card:
    """Check and write a whole model folder, the card last. Raises ParityError."""
    network = gallery.network.float().eval()
    styles = gallery.styles.detach().float()
    graphs = write_graphs(folder, network, styles, photos)
    # Not by save_file, whose files only their owner can read.
    weights = save({key: value.contiguous() for key, value in network.state_dict().items()})
    (folder / WEIGHTS).write_bytes(weights)
    fitted_to = zip(recipe.painting_sizes, recipe.style_weights, strict=True)
    for style, (size, weight), vector in zip(recipe.styles, fitted_to, styles, strict=True):
        about = StyleCard(
            title=style.title,
            artist=style.artist,
            year=style.year,
            license=style.license,
            painting_size=size,
            style_weight=weight,
        )
        write_style(folder, style.id, vector.numpy(), about)
        if sample is not None:
            write_preview(folder, style.id, network, vector, sample)
    card = Card(
        name=recipe.name,
        width=recipe.width,
        residual_blocks=recipe.residual_blocks,
        style_dimension=network.style_dimension,
        tile_margin=tile_margin(recipe.residual_blocks),
        fitted=fitted,
        **graphs,
    )
    write_card(folder, card)
    return card


def write_graphs(
    folder: Path, network: TransformNetwork, styles: Tensor, photos: Sequence[Pixels]
) -> dict[str, Any]:
    """Check and write the graphs and the reference; what the card says of them.

    styles: [S, D]; photos uint8 [H, W, 3]. Raises ParityError, and nothing is written then.
    """
    graphs = checked_graphs(network, styles, photos)
    painted = paint(network, pattern(), styles[:1])
    return {
        "graphs": {
            name: write_graph(folder, f"{name}.onnx", content) for name, content in graphs.items()
        },
        "reference": write_reference(folder, pattern(), styles[:1].numpy(), painted),
    }


def rewrite(folder: Path, photos: Sequence[Pixels]) -> Card:
    """Write the graphs of a model folder anew from its weights and styles, the card last.

    Raises ModelFolderError, RecipeError if it lacks them, ParityError.
    """
    found = read_folder(folder)
    styles = torch.stack([torch.from_numpy(style.vector) for style in found.styles.values()])
    graphs = write_graphs(folder, read_network(found).eval(), styles, photos)
    card = found.card.model_copy(update=graphs)
    write_card(folder, card)
    return card


def write_preview(
    folder: Path, style_id: str, network: TransformNetwork, vector: Tensor, sample: Image.Image
) -> None:
    """Paint the sample photograph in a style; rename it to previews/<id>.jpg when it is whole."""
    image = sample.convert("RGB")
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    pastiche = paint(network, np.asarray(image)[None], vector[None])[0]
    path = folder / "previews" / f"{style_id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Image.fromarray(pastiche).save(partial, "JPEG", quality=88)
    os.replace(partial, path)


def parity_photos(folder: Path) -> list[Pixels]:
    """Photographs of a folder, one in each of SHAPES, uint8 [H, W, 3]. Raises DataError."""
    paths = find_photos(folder)
    images = (read_image(paths[i % len(paths)]) for i in range(len(SHAPES)))
    return [np.asarray(image.resize(shape)) for image, shape in zip(images, SHAPES, strict=True)]


def load_gallery(checkpoint: dict[str, Any]) -> tuple[Recipe, Gallery]:
    """The recipe and the fitted gallery of a checkpoint, on the CPU."""
    recipe = Recipe.model_validate(checkpoint["recipe"])
    gallery = Gallery(TransformNetwork(recipe.width, recipe.residual_blocks), len(recipe.styles))
    gallery.load_state_dict(checkpoint["gallery"])
    return recipe, gallery


def provenance(checkpoint: dict[str, Any], recipe: Recipe, data: str) -> dict[str, Any]:
    """How the network was fitted, for the card; paths shortened to file names."""
    settings = recipe.model_dump(exclude={"styles", "name", "width", "residual_blocks"})
    fits = [*checkpoint["earlier"], {"recipe": settings}]
    for fit in fits:
        fit["recipe"]["loss_network"] = Path(fit["recipe"]["loss_network"]).name
    return {
        "recipe": settings,
        "earlier": checkpoint["earlier"],
        "steps": checkpoint["step"],
        "seconds": round(checkpoint["seconds"]),
        "device": checkpoint["device"],
        "torch": checkpoint["torch"],
        "data": data,
        "commit": _commit(),
        "exported": datetime.now(UTC).date().isoformat(),
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the folder is written, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, help="a checkpoint, or the model folder itself")
    parser.add_argument("folder", type=Path, nargs="?", help="the model folder to write")
    parser.add_argument("--photos", type=Path, required=True, help="photos to compare on")
    parser.add_argument("--sample", type=Path, help="photo to paint the previews from")
    parser.add_argument("--data", help="what it was fitted on, for the card")
    options = parser.parse_args(arguments)
    again = options.source.is_dir()
    if again != (options.folder is None):
        parser.error("name a checkpoint and the folder to write, or a model folder alone")
    if again and (options.sample, options.data) != (None, None):
        parser.error("--sample and --data are for a checkpoint: a model folder keeps what it has")
    try:
        if again:
            card = rewrite(options.source, parity_photos(options.photos))
            print(f"{options.source}: {', '.join(card.graphs)} written anew, parity checked")
            return 0
        checkpoint = read_checkpoint(options.source)
        recipe, gallery = load_gallery(checkpoint)
        photos = parity_photos(options.photos)
        sample = read_image(options.sample) if options.sample else None
        fitted = provenance(checkpoint, recipe, options.data or "not told")
        card = export(gallery, recipe, options.folder, photos, fitted, sample)
    except (RecipeError, DataError, ModelFolderError, ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {len(recipe.styles)} styles, width {card.width}, parity checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
