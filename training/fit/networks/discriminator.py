"""A patch discriminator: how real each region of a picture looks, for a given painting.

Strided convolutions after Radford et al. (arXiv:1511.06434) and Isola et al. (arXiv:1611.07004).
It is conditioned on the painting by projection (Miyato and Koyama, arXiv:1802.05637).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of the leaky ReLU below 0
WIDTHS = (32, 64, 96, 128, 128)


class Discriminator(nn.Module):
    """Strided convolutions that each halve the resolution, then a score for every position.

    Scores lie 2^len(widths) pixels apart. A score sees 38 pixels with three widths and about twice
    as many with each further one: 78, 158, 318.
    """

    def __init__(
        self, paintings: int, widths: Sequence[int] = WIDTHS, *, spectral: bool = True
    ) -> None:
        """widths: channels after each halving.

        spectral: keep the spectral norm of every layer at 1 (Miyato et al., arXiv:1802.05957).
        """
        super().__init__()
        if paintings < 1 or len(widths) < 1 or min(widths) < 1:
            raise ValueError("a discriminator needs a painting and at least one positive width")
        # An entry for each resolution that progressive growing passes.
        self.entries = nn.ModuleList(nn.Conv2d(3, width, 4, 2, 1) for width in widths)
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.score = nn.Conv2d(widths[-1], 1, 1)
        self.projection = nn.Embedding(paintings, widths[-1])
        layers = (*self.entries, *self.blocks, self.last)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.projection.weight, std=widths[-1] ** -0.5)
        if spectral:
            for layer in (*layers, self.score, self.projection):
                spectral_norm(layer)
        self.eval()  # in training mode, every look at a weight would move its spectral norm

    @torch.no_grad()
    def update_spectral_norms(self) -> None:
        """Follow the weights after a step of the optimizer, by one power iteration.

        Nothing else changes the buffers, so an interrupted step leaves no trace in a checkpoint.
        """
        self.train()
        for module in self.modules():
            if parametrize.is_parametrized(module, "weight"):
                module.weight  # noqa: B018  computing it runs the iteration
        self.eval()

    def forward(self, image: Tensor, painting: Tensor, reduction: float = 0.0) -> Tensor:
        """Return scores [N, h, w], positive for real, of image [N, 3, H, W] in [0, 1].

        painting: int64 [N]. H and W are at least 2^len(widths). reduction: as Generator.forward
        takes it; the image then has the reduced size.
        """
        skipped = int(reduction)
        x = 2 * image - 1
        features = F.leaky_relu(self.entries[skipped](x), SLOPE)
        for number, block in enumerate(self.blocks[skipped:]):
            features = F.leaky_relu(block(features), SLOPE)
            if number == 0 and (share := reduction - skipped) > 0:
                coarse = self.entries[skipped + 1](F.avg_pool2d(x, 2))
                features = torch.lerp(features, F.leaky_relu(coarse, SLOPE), share)
        features = F.leaky_relu(self.last(features), SLOPE)
        projected = torch.einsum("nchw,nc->nhw", features, self.projection(painting))
        return self.score(features)[:, 0] + projected  # type: ignore[no-any-return]
