"""A layout for speed: nothing runs at full resolution.

The image's 4x4 blocks become channels (the pixel unshuffle of Shi et al., arXiv:1609.05158). Blocks
of large depthwise kernels (after ConvNeXt, Liu et al., arXiv:2201.03545) work at a quarter of the
resolution and, for most of the depth, at an eighth, where large kernels see far for little cost.
Each block has one normalisation. A skip at a quarter carries faces, lines and lettering past the
eighth.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.networks.transform import Normalise, TransformNetwork

UNSHUFFLE = 4
PIXEL_CHANNELS = 3 * UNSHUFFLE**2
KERNEL = 7  # of the depthwise convolutions
EXPANSION = 2  # channels inside a block, relative to outside
RESIDUAL_GAIN = 0.3  # of the initial weights of a block's last convolution
STEM_NOISE, UP_GAIN, OUTPUT_NOISE, CONTRAST = 0.2, 0.2, 0.1, 0.2  # initial weights, see below


def replicate(x: Tensor, pixels: int) -> Tensor:
    """Pad [N, C, H, W] on every side by repeating its edge. Zeros would invite painted frames."""
    return F.pad(x, (pixels, pixels, pixels, pixels), mode="replicate")


def unshuffle(x: Tensor, factor: int) -> Tensor:
    """Turn blocks of pixels into channels, [N, C f f, H/f, W/f] of [N, C, H, W]; channels last."""
    return F.pixel_unshuffle(x, factor).contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """A residual block: depthwise kernel, normalisation, two 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, KERNEL, groups=channels, bias=False)
        self.expand = nn.Conv2d(channels, EXPANSION * channels, 1)
        self.project = nn.Conv2d(EXPANSION * channels, channels, 1)
        with torch.no_grad():
            self.project.weight.mul_(RESIDUAL_GAIN)
            self.project.bias.zero_()  # type: ignore[union-attr]
            self.expand.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, normalise: Normalise) -> Tensor:
        """[N, channels, h, w] of the same."""
        y = normalise(self.depthwise(replicate(x, KERNEL // 2)))
        return x + self.project(F.relu(self.expand(y)))  # type: ignore[no-any-return]


class CompactNetwork(TransformNetwork):
    """Blocks at a quarter, at an eighth and at a quarter of the resolution again."""

    stride = 2 * UNSHUFFLE

    def __init__(
        self,
        quarter_width: int = PIXEL_CHANNELS,
        eighth_width: int = 128,
        blocks: tuple[int, int, int] = (1, 6, 4),
    ) -> None:
        """Build a network; the widths are channels, blocks counts those of each stage."""
        super().__init__()
        if quarter_width < PIXEL_CHANNELS or eighth_width < 1 or min(blocks) < 0:
            raise ValueError(
                f"quarter_width must be at least {PIXEL_CHANNELS}, eighth_width at least 1, "
                "and blocks must not be negative"
            )
        quarter, eighth = quarter_width, eighth_width
        self.quarter_width, self.eighth_width = quarter, eighth
        self.stem = nn.Conv2d(PIXEL_CHANNELS, quarter, 3, bias=False)
        self.first = nn.ModuleList(Block(quarter) for _ in range(blocks[0]))
        self.down = nn.Conv2d(4 * quarter, eighth, 1)
        self.body = nn.ModuleList(Block(eighth) for _ in range(blocks[1]))
        self.up = nn.Conv2d(eighth, 4 * quarter, 3)
        self.last = nn.ModuleList(Block(quarter) for _ in range(blocks[2]))
        self.output = nn.Conv2d(quarter, PIXEL_CHANNELS, 3)
        self._start_as_identity()

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        # The skip starts by handing the photograph through at an even contrast: a fit begins with
        # the content whole and learns the style, and not with grey and the content to find.
        self.stem.weight.mul_(STEM_NOISE)
        self.output.weight.mul_(OUTPUT_NOISE)
        self.up.weight.mul_(UP_GAIN)
        for layer in (self.output, self.up):
            layer.bias.zero_()  # type: ignore[union-attr]
        pixel = torch.arange(PIXEL_CHANNELS)
        self.stem.weight[pixel, pixel, 1, 1] += 1
        self.output.weight[pixel, pixel, 1, 1] += CONTRAST

    @property
    def channels(self) -> list[int]:
        """The number of channels of each normalisation, in the order they run."""
        quarter, eighth = self.quarter_width, self.eighth_width
        before = [quarter] * (1 + len(self.first))
        return [*before, *[eighth] * len(self.body), quarter, *[quarter] * len(self.last)]

    @property
    def initial_scales(self) -> list[float]:
        """Plain instance norm."""
        return [1.0] * len(self.channels)

    @property
    def reach(self) -> int:
        """Half of every kernel, times the stride where it runs, and a whole stride at the ends."""
        quarters = 2 + (KERNEL // 2) * (len(self.first) + len(self.last))
        eighths = 1 + (KERNEL // 2) * len(self.body)
        return UNSHUFFLE * quarters + 2 * UNSHUFFLE * eighths + 2 * UNSHUFFLE

    def paint(self, x: Tensor, normalise: Normalise) -> Tensor:
        """See TransformNetwork.paint."""
        x = normalise(self.stem(replicate(unshuffle(x, UNSHUFFLE), 1)))
        for block in self.first:
            x = block(x, normalise)
        skip = x
        x = self.down(unshuffle(x, 2))
        for block in self.body:
            x = block(x, normalise)
        x = F.pixel_shuffle(self.up(replicate(x, 1)), 2)
        x = x.contiguous(memory_format=torch.channels_last) + normalise(skip)
        for block in self.last:
            x = block(x, normalise)
        return F.pixel_shuffle(self.output(replicate(x, 1)), UNSHUFFLE)
