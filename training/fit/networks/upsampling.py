"""Upsampling by 2 and a 3x3 convolution as one convolution at the lower resolution.

Of doubled pixels a 3x3 kernel sees only 2x2 different ones. Four 2x2 kernels of sums, one for each
pixel of a doubled one, give the same result for less work; their outputs are then interleaved
(the sub-pixel convolution of Shi et al., arXiv:1609.05158).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Which rows of a 3x3 kernel fall on each of two doubled pixels, where its middle is the last of the
# first one's two, and where it is the first of the second one's.
SUMS = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]])


class UpsampledConvolution(nn.Conv2d):
    """Nearest upsampling by 2, then a 3x3 convolution without padding."""

    sums: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)
        self.register_buffer("sums", torch.tensor(SUMS, dtype=torch.float32), persistent=False)

    def kernels(self) -> Tensor:
        """The 2x2 kernels [O, 2, 2, I, 2, 2] of each output channel, row and column."""
        return torch.einsum("aik,bjl,ockl->oabcij", self.sums, self.sums, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, O, 2 h - 2, 2 w - 2] for x [N, I, h, w]."""
        kernels = self.kernels().flatten(0, 2)
        assert self.bias is not None
        y = F.conv2d(x, kernels, self.bias.repeat_interleave(4))
        return F.pixel_shuffle(y, 2)
