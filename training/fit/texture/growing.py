"""Progressive growing (Karras et al., arXiv:1710.10196): the resolution of every step.

A fit begins with small pictures, which show the large shapes of a painting for little cost. Each
new level of the networks is faded in, so that it does not disturb what the others have learnt.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.fit.texture.recipe import TexturePhase, TextureRecipe


def phase_of(recipe: TextureRecipe, step: int) -> tuple[TexturePhase, float]:
    """Return the phase of a step, counted from 0, and the step's reduction.

    reduction: as Generator.forward takes it; 0 at full resolution, 2 at a quarter of it, and
    between 1 and 2 while the level of half the resolution is faded in.
    """
    before = recipe.phases[0].size
    for phase in recipe.phases:
        if step < phase.steps:
            break
        step, before = step - phase.steps, phase.size
    else:
        return recipe.phases[-1], 0.0
    reduction = float((recipe.patch // phase.size).bit_length() - 1)
    fading = recipe.fade * phase.steps
    if phase.size > before and step + 1 < fading:
        reduction += 1 - (step + 1) / fading
    return phase, reduction


def reduced(image: Tensor, reduction: float) -> Tensor:
    """Reduce a real image [N, 3, H, W] as the generator's pictures are reduced.

    While a level is faded in, the image loses the detail that the generator lacks as well.
    """
    if (factor := 2 ** int(reduction)) > 1:
        image = F.avg_pool2d(image, factor)
    if (share := reduction - int(reduction)) > 0:
        coarse = F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0)
        image = torch.lerp(image, coarse, share)
    return image
