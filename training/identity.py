"""Why strength mixes pixels: the other way, shown.

python -m training.identity models/gallery STYLE ... --photos DIR -o OUT [--photo PHOTO]

Fits an identity vector, with which the frozen network comes as near as it can to its input, and
lays what strength could be side by side: for each style a row of the photograph mixed with the
painted picture, and below it a row painted with vectors between identity and style.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from app.errors import ModelFolderError
from app.model_folder import WEIGHTS, read_folder
from training.fit.data import Batches, DataError, find_photos, read_image, to_tensor
from training.fit.network import TransformNetwork
from training.fit.recipe import Phase, Recipe, Style
from training.sheet import samples

STEPS, CROP, RATE = 150, 128, 0.03
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def identity_vector(network: TransformNetwork, start: Tensor, batches: Batches) -> Tensor:
    """The vector [D] whose pictures differ least from the photos, by descent from `start` [D]."""
    vector = nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([vector], RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=len(batches) + 1)
    for step in tqdm(range(len(batches)), unit="step"):
        photos = batches[step].photos.float() / 255
        error = (network(photos, vector.expand(len(photos), -1)) - photos).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    return vector.detach()


@torch.no_grad()
def comparison(network: TransformNetwork, photo: Tensor, style: Tensor, identity: Tensor) -> Tensor:
    """Two rows at STRENGTHS, pixels mixed above vectors mixed, [3, 2 H, 5 W] of [1, 3, H, W]."""
    painted = network(photo, style[None])
    pixels = [torch.lerp(photo, painted, s) for s in STRENGTHS]
    vectors = [network(photo, torch.lerp(identity, style, s)[None]) for s in STRENGTHS]
    return torch.cat([torch.cat(row, dim=3) for row in (pixels, vectors)], dim=2)[0]


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the sheet is written, 1 on a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.identity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, help="model folder")
    parser.add_argument("styles", nargs="+", metavar="STYLE")
    parser.add_argument("--photos", type=Path, required=True, help="folder to fit on")
    parser.add_argument("--photo", type=Path, help="to paint (scikit-image's astronaut)")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--side", type=int, default=256, help="of each picture, pixels")
    options = parser.parse_args(arguments)
    try:
        folder = read_folder(options.folder)
        if missing := set(options.styles) - folder.styles.keys():
            raise ModelFolderError(f"{options.folder} has no style {', '.join(sorted(missing))}")
        network = TransformNetwork(folder.card.width, folder.card.residual_blocks)
        network.load_state_dict(load_file(options.folder / WEIGHTS))
        network.requires_grad_(False)
        photo = read_image(options.photo) if options.photo else samples()[0]
        styles = {s.id: torch.from_numpy(s.vector) for s in folder.styles.values()}
        recipe = Recipe(
            name="identity",
            styles=[Style(id="identity", painting="none", title="Identity")],
            phases=[Phase(steps=options.steps, crop=[CROP])],
        )
        batches = Batches(find_photos(options.photos), recipe)
        identity = identity_vector(network, torch.stack(list(styles.values())).mean(0), batches)
    except (DataError, ModelFolderError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    square = to_tensor(ImageOps.fit(photo, (options.side, options.side)))
    rows = [comparison(network, square, styles[s], identity) for s in options.styles]
    sheet = torch.cat(rows, dim=1).permute(1, 2, 0).mul(255).round().byte()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(sheet)).save(options.out, quality=88)
    with torch.no_grad():
        missed = (network(square, identity[None]) - square).square().mean().item()
    print(f"{options.out}; the identity vector gives the photo back at {_decibels(missed)}")
    return 0


def _decibels(error: float) -> str:
    return f"{-10 * math.log10(max(error, 1e-10)):.1f} dB"


if __name__ == "__main__":
    sys.exit(main())
