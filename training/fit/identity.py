"""The identity vector: the style vector that reproduces the photo as well as the network can."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from app.errors import ModelFolderError
from app.model_folder import ModelFolder
from training.fit.data import Batches, find_photos
from training.fit.networks.transform import TransformNetwork
from training.fit.recipe import Phase, Recipe, StyleRecipe
from training.fit.weights import load_network

CROP = 128  # pixels
RATE = 0.03
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class StrengthComparison:
    """sheet: float32 [3, 2 S h, 5 w] in [0, 1] for S styles, see `compare_rows`.

    error: mean squared error of the photo painted with the identity vector.
    """

    sheet: Tensor
    error: float


def compare_strengths(
    folder: ModelFolder, styles: list[str], photo: Tensor, photos: Path, steps: int
) -> StrengthComparison:
    """Fit an identity vector and compare mixing pixels with mixing vectors, for some styles.

    photo: [1, 3, H, W] in [0, 1]. photos: folder to fit on. Raises ModelFolderError for an unknown
    style, WeightsError, DataError.
    """
    if missing := set(styles) - folder.styles.keys():
        raise ModelFolderError(f"{folder.path} has no style {', '.join(sorted(missing))}")
    network = load_network(folder).requires_grad_(False)
    vectors = {name: torch.from_numpy(style.vector) for name, style in folder.styles.items()}
    recipe = Recipe(
        name="identity",
        styles=[StyleRecipe(id="identity", painting="unused", title="Identity")],
        phases=[Phase(steps=steps, crop=[CROP])],
    )
    mean = torch.stack(list(vectors.values())).mean(0)
    identity = identity_vector(network, mean, Batches(find_photos(photos), recipe))
    rows = [compare_rows(network, photo, vectors[style], identity) for style in styles]
    error = (network(photo, identity[None]) - photo).square().mean().item()
    return StrengthComparison(torch.cat(rows, dim=1), error)


def identity_vector(network: TransformNetwork, start: Tensor, batches: Batches) -> Tensor:
    """Fit the vector [D] with the lowest squared error between picture and photo, from `start`."""
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
def compare_rows(
    network: TransformNetwork, photo: Tensor, style: Tensor, identity: Tensor
) -> Tensor:
    """Return two rows at STRENGTHS, mixed pixels above mixed vectors: [3, 2 H, 5 W].

    photo: [1, 3, H, W] in [0, 1]. style, identity: [D].
    """
    painted = network(photo, style[None])
    pixels = [torch.lerp(photo, painted, s) for s in STRENGTHS]
    vectors = [network(photo, torch.lerp(identity, style, s)[None]) for s in STRENGTHS]
    return torch.cat([torch.cat(row, dim=3) for row in (pixels, vectors)], dim=2)[0]
