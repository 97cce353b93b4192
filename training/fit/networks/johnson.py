"""The layout of Johnson et al. 2016 (arXiv:1603.08155).

A 9x9 convolution, two of stride 2, residual blocks, two upsampling steps, a 9x9 convolution;
upsampling by resize-convolution after Odena et al. (2016).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.networks.transform import Normalise, Origin, TransformNetwork

OUTPUT_GAIN = 0.1  # of the last convolution's initial weights
RESIDUAL_GAIN = 0.2  # initial scale of what a residual block adds


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    # No bias: the normalisation that follows subtracts the mean, and the bias with it.
    return nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", bias=False
    )


class JohnsonNetwork(TransformNetwork):
    """Channels: `width` at full resolution, twice that at a half, four times at a quarter."""

    stride = 4

    def __init__(self, width: int = 32, residual_blocks: int = 5) -> None:
        super().__init__()
        if width < 1 or residual_blocks < 0:
            raise ValueError("width must be at least 1 and residual_blocks at least 0")
        self.width, self.residual_blocks = width, residual_blocks
        self.encoder = nn.ModuleList(
            [
                _convolution(3, width, 9),
                _convolution(width, 2 * width, 3, 2),
                _convolution(2 * width, 4 * width, 3, 2),
            ]
        )
        self.residual = nn.ModuleList(
            nn.ModuleList(_convolution(4 * width, 4 * width, 3) for _ in range(2))
            for _ in range(residual_blocks)
        )
        self.decoder = nn.ModuleList(
            [_convolution(4 * width, 2 * width, 3), _convolution(2 * width, width, 3)]
        )
        self.output = nn.Conv2d(width, 3, 9, padding=4, padding_mode="reflect")
        # Start near grey. A network that starts with too much contrast learns to lower it by one
        # huge activation that raises the variance in every instance norm: a grey hole for good.
        with torch.no_grad():
            self.output.weight.mul_(OUTPUT_GAIN)

    @property
    def channels(self) -> list[int]:
        """The number of channels of each normalisation, in the order they run."""
        w = self.width
        return [w, 2 * w, 4 * w] + [4 * w] * (2 * self.residual_blocks) + [2 * w, w]

    @property
    def initial_scales(self) -> list[float]:
        """Plain instance norm, quiet residual blocks."""
        return [1.0] * 3 + [1.0, RESIDUAL_GAIN] * self.residual_blocks + [1.0] * 2

    @property
    def reach(self) -> int:
        """4 for each 9x9, 1 + 2 for the strides, 8 for each residual block, 2 + 1 upsampled."""
        return 4 + 1 + 2 + 8 * self.residual_blocks + 2 + 1 + 4

    def paint(self, x: Tensor, normalise: Normalise, origin: Origin = (0, 0)) -> Tensor:
        """See TransformNetwork.paint."""
        for convolution in self.encoder:
            x = F.relu(normalise(convolution(x)))
        for block in self.residual:
            first, second = block.children()
            x = x + normalise(second(F.relu(normalise(first(x)))))
        for convolution in self.decoder:
            x = F.relu(normalise(convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))))
        return self.output(x)  # type: ignore[no-any-return]
