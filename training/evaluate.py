"""Judge the served pictures: content, style and total objective on photos, for every style.

python -m training.evaluate models/gallery --recipe training/recipes/gallery.toml \
    --photos DIR --paintings DIR

The objective is the recipe's, without total variation, in float32, on what the exported graph
paints. `--store` keeps the figures in the styles' metadata.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from app.card import ModelFolder, read_folder, write_style
from app.device import CPU, Device
from app.errors import ModelFolderError
from app.model import Network
from app.settings import Settings
from training.data import DataError, find_photos, load_image
from training.features import LossNetworkError
from training.recipe import Recipe, RecipeError, read_recipe
from training.train import perceptual_loss

SIDES = (256, 512)  # shorter side of the photos, pixels

Figures = dict[str, dict[str, float]]


@torch.no_grad()
def evaluate(folder: ModelFolder, recipe: Recipe, photos: list[Path], paintings: Path) -> Figures:
    """Mean content and style and median objective of each style at each of SIDES.

    Raises DataError, LossNetworkError, ModelFolderError.
    """
    device = Device("cpu", CPU, "float32")
    network = Network(folder, device, Settings.model_fields["tile_pixels"].default)
    loss = perceptual_loss(recipe, paintings, torch.device("cpu"))
    figures: Figures = {}
    bar = tqdm(total=len(recipe.styles) * len(SIDES) * len(photos), unit="picture")
    for number, style in enumerate(recipe.styles):
        figures[style.id] = {}
        for side in SIDES:
            rows = []
            for path in photos:
                photo = (load_image(path, side) * 255).round()
                pixels = np.asarray(photo.byte().permute(0, 2, 3, 1))
                painted = network.paint(pixels, folder.styles[style.id].vector[None])
                pastiche = torch.tensor(painted).permute(0, 3, 1, 2).float() / 255
                content, error, _ = loss(pastiche, photo / 255, torch.tensor([number]))
                rows.append((content.item(), error.item()))
                bar.update()
            content_terms, style_terms = np.array(rows).T
            total = recipe.content_weight * content_terms + recipe.style_weight * style_terms
            figures[style.id] |= {
                f"content_{side}": round(float(content_terms.mean()), 4),
                f"style_{side}": round(float(style_terms.mean()), 4),
                f"objective_{side}": round(float(np.median(total)), 4),
            }
    bar.close()
    return figures


def store(folder: ModelFolder, figures: Figures) -> None:
    """Keep the figures in the metadata of the style files."""
    for style_id, quality in figures.items():
        style = folder.styles[style_id]
        card = style.card.model_copy(update={"quality": quality})
        write_style(folder.path, style_id, style.vector, card)


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the table is printed, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("--recipe", type=Path, required=True, help="that it was fitted with")
    parser.add_argument("--photos", type=Path, required=True, help="photos it was not fitted on")
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--store", action="store_true", help="keep them in the styles' metadata")
    options = parser.parse_args(arguments)
    try:
        folder = read_folder(options.folder)
        recipe = read_recipe(options.recipe, options.overrides)
        if missing := {style.id for style in recipe.styles} - folder.styles.keys():
            raise RecipeError(f"{options.folder} has no style {', '.join(sorted(missing))}")
        figures = evaluate(folder, recipe, find_photos(options.photos), options.paintings)
    except (DataError, LossNetworkError, ModelFolderError, RecipeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names = list(next(iter(figures.values())))
    print(" ".join(f"{name:>14}" for name in ["style", *names]))
    for style_id, row in figures.items():
        print(f"{style_id[:18]:>14} " + " ".join(f"{row[name]:>14.4f}" for name in names))
    if options.store:
        store(folder, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
