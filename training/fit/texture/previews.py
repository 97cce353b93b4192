"""Preview sheets of a texture fit: a texture of every painting."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from app.engine.noise import noise_map
from training.fit.networks.generator import TextureModel
from training.fit.texture.recipe import TextureRecipe

SIDE = 512  # of a texture at full resolution, pixels
SEED = 1


@torch.no_grad()
def texture_sheet(
    model: TextureModel, recipe: TextureRecipe, reduction: float = 0.0, side: int | None = None
) -> Image.Image:
    """Generate a texture of every painting, in the order of the recipe, row by row.

    side: a multiple of the stride, pixels; default: SIDE. reduction: see growing; reduced textures
    are enlarged.
    """
    generator, device = model.generator, model.styles.device
    side = side or SIDE
    cells = side // generator.stride
    noise = torch.from_numpy(
        noise_map(
            SEED,
            cells,
            cells,
            local=recipe.local_noise,
            global_=recipe.global_noise,
            waves=recipe.waves,
            margin=generator.margin,
        )
    )[None].to(device)
    columns = math.ceil(math.sqrt(len(recipe.styles)))
    rows = math.ceil(len(recipe.styles) / columns)
    sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
    for number in range(len(recipe.styles)):
        picture = model(noise, torch.tensor([number], device=device), reduction)
        picture = F.interpolate(picture, size=(side, side))[0].permute(1, 2, 0)
        pixels = (picture * 255).round().byte().cpu().numpy()
        top, left = (side * n for n in divmod(number, columns))
        sheet[top : top + side, left : left + side] = pixels
    return Image.fromarray(sheet)
