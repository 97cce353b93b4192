"""A generator of textures: noise and a style vector in, an image of any size out.

Fully convolutional, after the spatial GANs of Jetchev et al. (arXiv:1611.08207) and Bergmann et al.
(arXiv:1705.06566). Nothing is padded and nothing looks at the whole picture, so that tiles agree:
every output pixel depends on a few cells of noise and on nothing else.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.networks.transform import affine, clamp_towards_range
from training.fit.networks.upsampling import UpsampledConvolution

SLOPE = 0.2  # of the leaky ReLU below 0
EPSILON = 1e-8  # added to the mean square in pixel norm
CONTRAST = 0.2  # standard deviation of the initial pictures
WIDTHS = (192, 160, 96, 64, 40, 24)


def pixel_norm(x: Tensor) -> Tensor:
    """Divide x [N, C, H, W] by the root mean square over the channels of each pixel.

    Keeps activations from growing in a fit (Karras et al., arXiv:1710.10196). Unlike instance norm
    it needs no statistics over the picture.
    """
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class Generator(nn.Module):
    """A 3x3 convolution on noise, then a level for each doubling of the resolution.

    A style vector scales and shifts the channels of every level, as in the transform network. The
    level at full resolution has no pixel norm, where it would take a third of the time.
    """

    def __init__(self, noise_channels: int, widths: Sequence[int] = WIDTHS) -> None:
        """widths: channels at the resolution of the noise and of every level after it."""
        super().__init__()
        if noise_channels < 1 or len(widths) < 2 or min(widths) < 1:
            raise ValueError("a generator needs noise and at least two positive widths")
        self.noise_channels = noise_channels
        self.channels = list(widths)
        self.first = nn.Conv2d(noise_channels, widths[0], 3)
        self.levels = nn.ModuleList(
            UpsampledConvolution(a, b) for a, b in itertools.pairwise(widths)
        )
        # A head for each resolution that progressive growing passes; the last one is exported.
        self.heads = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in widths[1:])
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for layer in self.convolutions:
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)
        for head in self.heads:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            nn.init.normal_(head.weight, std=CONTRAST * head.in_channels**-0.5)
            nn.init.zeros_(head.bias)

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The convolution on the noise and that of every level."""
        levels = [level for level in self.levels if isinstance(level, nn.Conv2d)]
        return [self.first, *levels]

    @property
    def stride(self) -> int:
        """Output pixels along a side of a cell of noise."""
        return int(2 ** len(self.levels))

    @property
    def margin(self) -> int:
        """How many more cells the noise has along each axis than the picture.

        The first convolution takes 2 of h cells. A level makes 2 m - 2 pixels of m, so that m - 2
        doubles: the last one makes stride (h - 4) + 2 pixels, and the 2 are cropped.
        """
        return 4

    @property
    def style_dimension(self) -> int:
        """D, the length of a style vector: a scale and a shift for every channel."""
        return 2 * sum(self.channels)

    def neutral_style(self) -> Tensor:
        """The style vector that changes nothing, [D]."""
        return torch.cat([t for c in self.channels for t in (torch.ones(c), torch.zeros(c))])

    def forward(self, noise: Tensor, style: Tensor, reduction: float = 0.0) -> Tensor:
        """Generate [N, 3, H, W] in [0, 1] from noise [N, Z, h, w] and style [N, D].

        H = stride (h - margin), and W likewise. reduction: levels that progressive growing has not
        reached, which halve the size: after 1.25, of levels 1 and 2, level 1 has a weight of 0.75.
        """
        pieces = iter(torch.split(style, [c for c in self.channels for _ in range(2)], dim=1))
        skipped = int(reduction)
        count = len(self.levels) - skipped
        x = affine(pixel_norm(self.first(noise)), next(pieces), next(pieces))
        x = F.leaky_relu(x, SLOPE)
        coarser = x
        for number, level in enumerate(self.levels[:count]):
            coarser, x = x, level(x)
            if number < len(self.levels) - 1:
                x = pixel_norm(x)
            x = F.leaky_relu(affine(x, next(pieces), next(pieces)), SLOPE)
        picture = _crop(self.heads[count - 1](x))
        if (share := reduction - skipped) > 0:
            coarse = F.interpolate(_crop(self.heads[count - 2](coarser)), scale_factor=2.0)
            picture = torch.lerp(picture, coarse, share)
        return clamp_towards_range(0.5 + picture.float())


class TextureModel(nn.Module):
    """A generator and the style vectors that are fitted with it, one for each painting."""

    def __init__(self, generator: Generator, paintings: int) -> None:
        super().__init__()
        self.generator = generator
        self.styles = nn.Parameter(generator.neutral_style().repeat(paintings, 1))

    def forward(self, noise: Tensor, painting: Tensor, reduction: float = 0.0) -> Tensor:
        """Generate pictures [N, 3, H, W]; painting, int64 [N], selects the style of each."""
        vectors = self.styles[painting]
        return self.generator(noise, vectors, reduction)  # type: ignore[no-any-return]


def _crop(x: Tensor) -> Tensor:
    return x[..., 1:-1, 1:-1]
