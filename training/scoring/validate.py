"""Judge a style vector while it is fitted: content, style and objective on a few crops."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.fit.data import Batches
from training.fit.losses import PerceptualLoss
from training.fit.network import TransformNetwork
from training.fit.precision import autocast
from training.fit.recipe import Phase, Recipe

SIDE = 256  # pixels
CROPS = 16
PASS = 4  # crops at a time; the first of them choose between vectors


def judged_crops(photos: list[Path], recipe: Recipe, device: torch.device) -> Tensor:
    """Crops that no step of the recipe sees, float32 [CROPS, 3, SIDE, SIDE]. Raises DataError."""
    phase = Phase(steps=1, crop=[SIDE], batch=CROPS)
    batch = Batches(photos, recipe.model_copy(update={"phases": [phase]}))[recipe.steps]
    return batch.photos.to(device).float() / 255


@torch.no_grad()
def judge(
    network: TransformNetwork, vector: Tensor, loss: PerceptualLoss, recipe: Recipe, crops: Tensor
) -> dict[str, float]:
    """Mean content and style and median objective (without variation, as training.evaluate).

    vector: [D]; crops: [N, 3, SIDE, SIDE] in [0, 1].
    """
    rows = []
    for photos in torch.split(crops, PASS):
        index = torch.zeros(len(photos), dtype=torch.int64, device=crops.device)
        content, style, _ = loss(network(photos, vector.expand(len(photos), -1)), photos, index)
        rows.append(torch.stack([content, style]))
    content, style = torch.cat(rows, dim=1).cpu()
    objective = recipe.content_weight * content + recipe.style_weights[0] * style
    return {
        f"content_{SIDE}": round(float(content.mean()), 4),
        f"style_{SIDE}": round(float(style.mean()), 4),
        f"objective_{SIDE}": round(float(np.median(objective)), 4),
    }


def nearest(
    network: TransformNetwork,
    vectors: Mapping[str, Tensor],
    loss: PerceptualLoss,
    recipe: Recipe,
    crops: Tensor,
) -> str:
    """The name of the vector that does best on the first few crops, in the fast type."""
    with autocast(crops.device):
        objectives = {
            name: judge(network, vector, loss, recipe, crops[:PASS])[f"objective_{SIDE}"]
            for name, vector in vectors.items()
        }
    return min(objectives, key=lambda name: objectives[name])
