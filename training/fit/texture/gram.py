"""The Gram term: how far generated pictures are from the statistics of their painting.

The adversary compares patches; this term compares features of a loss network over a whole picture
(Gatys et al., arXiv:1505.07376). It needs no opponent, so it steadies and speeds up a fit.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.features import LossNetwork
from training.fit.losses import StyleLoss
from training.fit.texture.recipe import TextureRecipe

SMALLEST = 32  # pixels; in smaller pictures the deepest layers have nothing to see


class GramLoss(nn.Module):
    """Relative error of the Gram matrices, at the resolution of the phase."""

    def __init__(
        self, network: LossNetwork, paintings: Sequence[Tensor], recipe: TextureRecipe
    ) -> None:
        """paintings: [1, 3, H, W] in [0, 1] each. Raises LossNetworkError for unknown layers."""
        super().__init__()
        self.network, self.layers = network, list(recipe.gram_layers)
        sizes = {phase.size for phase in recipe.phases if phase.size >= SMALLEST}
        self.styles = nn.ModuleDict()
        for size in sizes:
            factor = recipe.patch // size
            with torch.no_grad():
                features = [network(F.avg_pool2d(p, factor), self.layers) for p in paintings]
            self.styles[str(size)] = StyleLoss(recipe.gram_layers, features)

    def forward(self, pictures: Tensor, painting: Tensor) -> Tensor:
        """Mean error of pictures [N, 3, H, W] from their paintings, int64 [N]; 0 if too small."""
        size = pictures.shape[2]
        if size < SMALLEST:
            return pictures.new_zeros(())
        features = self.network(pictures, self.layers)
        return self.styles[str(size)](features, painting).mean()  # type: ignore[no-any-return]
