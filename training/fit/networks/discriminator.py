"""A patch discriminator: how real each region of a picture looks, for a given painting.

Strided convolutions after Radford et al. (arXiv:1511.06434) and Isola et al. (arXiv:1611.07004).
It is conditioned on the painting by projection (Miyato and Koyama, arXiv:1802.05637).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2  # of the leaky ReLU below 0
WIDTHS = (32, 64, 96, 128, 128)


class Discriminator(nn.Module):
    """Blocks that each halve the resolution, then a score for every position.

    Scores of the full resolution lie 2^blocks pixels apart. A score sees 78 pixels with three
    blocks before the last, and twice as many with each further one.
    """

    def __init__(
        self, paintings: int, widths: Sequence[int] = WIDTHS, *, spectral: bool = True
    ) -> None:
        """widths: channels at full resolution and after every block.

        spectral: keep the spectral norm of every layer at 1 (Miyato et al., arXiv:1802.05957).
        """
        super().__init__()
        if paintings < 1 or len(widths) < 2 or min(widths) < 1:
            raise ValueError("a discriminator needs a painting and at least two positive widths")
        # An entry for each resolution that progressive growing passes.
        self.entries = nn.ModuleList(nn.Conv2d(3, width, 1) for width in widths[:-1])
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.score = nn.Conv2d(widths[-1], 1, 1)
        self.projection = nn.Embedding(paintings, widths[-1])
        for layer in (*self.entries, *self.blocks, self.last):
            nn.init.kaiming_normal_(layer.weight, SLOPE)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.projection.weight, std=widths[-1] ** -0.5)
        if spectral:
            for layer in (*self.entries, *self.blocks, self.last, self.score, self.projection):
                spectral_norm(layer)

    def forward(self, image: Tensor, painting: Tensor, reduction: float = 0.0) -> Tensor:
        """Return scores [N, h, w], positive for real, of image [N, 3, H, W] in [0, 1].

        painting: int64 [N]. H and W are at least 2^blocks. reduction: as Generator.forward takes
        it; the image then has the reduced size.
        """
        skipped = int(reduction)
        x = 2 * image - 1
        features = F.leaky_relu(self.entries[skipped](x), SLOPE)
        for number, block in enumerate(self.blocks):
            if number < skipped:
                continue
            features = F.leaky_relu(block(features), SLOPE)
            if number == skipped and (share := reduction - skipped) > 0:
                coarse = self.entries[skipped + 1](F.avg_pool2d(x, 2))
                features = torch.lerp(features, F.leaky_relu(coarse, SLOPE), share)
        features = F.leaky_relu(self.last(features), SLOPE)
        projected = torch.einsum("nchw,nc->nhw", features, self.projection(painting))
        return self.score(features)[:, 0] + projected  # type: ignore[no-any-return]
