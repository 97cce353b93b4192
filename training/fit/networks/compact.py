"""A layout for speed: nothing runs at full resolution.

The image's 4x4 blocks become channels (the pixel unshuffle of Shi et al., arXiv:1609.05158). Blocks
of large depthwise kernels (after ConvNeXt, Liu et al., arXiv:2201.03545) work at a quarter of the
resolution and, for most of the depth, at an eighth, where large kernels see far for little cost.
Each block has one normalisation. A skip at a quarter carries faces, lines and lettering past the
eighth.

Where a photograph is smooth, a network of stride 8 has the same input at every block, and can only
paint every block alike. Noise at an eighth of the resolution (after Karras et al.,
arXiv:1812.04948) tells them apart; each style has its own strength of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.networks.transform import Normalise, Origin, TransformNetwork

UNSHUFFLE = 4
PIXEL_CHANNELS = 3 * UNSHUFFLE**2
KERNEL = 7  # of the depthwise convolutions
EXPANSION = 2  # channels inside a block, relative to outside
RESIDUAL_GAIN = 0.3  # of the initial weights of a block's last convolution
NOISE_SIDE = 96  # cells of 8 pixels, after which the noise repeats
NOISE_UNIT = 32  # the standard deviation of the stored noise
NOISE_GAIN = 0.1  # of the initial weights of the noise
STEM_NOISE, UP_GAIN, OUTPUT_NOISE, CONTRAST = 0.2, 0.2, 0.1, 0.2  # initial weights, see below


def replicate(x: Tensor, pixels: int) -> Tensor:
    """Pad [N, C, H, W] on every side by repeating its edge. Zeros would invite painted frames."""
    if not torch.compiler.is_compiling():
        return F.pad(x, (pixels, pixels, pixels, pixels), mode="replicate")
    # torch.compile expects its gradient in another memory format than it has.
    for axis in (2, 3):
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, -1, 1)
        x = torch.cat([*[first] * pixels, x, *[last] * pixels], axis)
    return x


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
        noise_channels: int = 0,
    ) -> None:
        """Build a network; the widths are channels, blocks counts those of each stage.

        noise_channels: of the noise; 0 for none.
        """
        super().__init__()
        if quarter_width < PIXEL_CHANNELS or eighth_width < 1 or min(*blocks, noise_channels) < 0:
            raise ValueError(
                f"quarter_width must be at least {PIXEL_CHANNELS}, eighth_width at least 1, "
                "and blocks and noise_channels must not be negative"
            )
        self.noise_channels = noise_channels
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
        if noise_channels:
            self.mix = nn.Conv2d(noise_channels, eighth, 1, bias=False)
            with torch.no_grad():
                self.mix.weight.mul_(NOISE_GAIN)
            shape = (noise_channels, NOISE_SIDE, NOISE_SIDE)
            noise = (NOISE_UNIT * torch.randn(shape)).round().clamp(-127, 127)
            self.register_buffer("noise", noise.to(torch.int8))

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
        before = [quarter] * (1 + len(self.first)) + [self.noise_channels] * self.has_noise
        return [*before, *[eighth] * len(self.body), quarter, *[quarter] * len(self.last)]

    @property
    def has_noise(self) -> bool:
        """Whether it has noise channels."""
        return self.noise_channels > 0

    @property
    def noise_scales(self) -> slice:
        """The noise's scales and shifts in a style vector."""
        start = 2 * self.quarter_width * (1 + len(self.first))
        return slice(start, start + 2 * self.noise_channels)

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

    def paint(self, x: Tensor, normalise: Normalise, origin: Origin = (0, 0)) -> Tensor:
        """See TransformNetwork.paint."""
        x = normalise(self.stem(replicate(unshuffle(x, UNSHUFFLE), 1)))
        for block in self.first:
            x = block(x, normalise)
        skip = x
        x = self.down(unshuffle(x, 2))
        if self.has_noise:
            x = x + self.mix(normalise(self._noise_at(origin, x)))
        for block in self.body:
            x = block(x, normalise)
        x = F.pixel_shuffle(self.up(replicate(x, 1)), 2)
        x = x.contiguous(memory_format=torch.channels_last) + normalise(skip)
        for block in self.last:
            x = block(x, normalise)
        return F.pixel_shuffle(self.output(replicate(x, 1)), UNSHUFFLE)

    def _noise_at(self, origin: Origin, x: Tensor) -> Tensor:
        """The noise from a pixel of the whole picture on, [N, C, h, w] for x [N, _, h, w]."""
        noise = self.get_buffer("noise")
        for axis, (pixel, cells) in enumerate(zip(origin, x.shape[2:], strict=True), 1):
            first = pixel // self.stride
            places = torch.arange(first, first + cells, device=noise.device) % NOISE_SIDE
            noise = noise.index_select(axis, places)
        return (noise.to(x.dtype) / NOISE_UNIT).expand(len(x), -1, -1, -1)
