"""The transform network: Johnson et al. 2016 with conditional instance norm.

Layout after Johnson et al. (arXiv:1603.08155): a 9x9 convolution, two of stride 2, residual
blocks, two upsampling steps, a 9x9 convolution. Instance norm after Ulyanov et al.
(arXiv:1607.08022), resize-convolution after Odena et al. (2016), and scale and shift given from
outside after Dumoulin et al. (arXiv:1610.07629): all of them laid end to end are the style vector.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to the variance in every instance norm, in the exported graphs too
STRIDE = 4  # the network works at a quarter of the resolution: sides are padded to multiples of it

OUTPUT_GAIN = 0.1  # of the last convolution's first weights
RESIDUAL_GAIN = 0.2  # first scale of what a residual block adds
PEAK = 7.0  # standard deviations: what a normalised plane of a photograph may well reach

Normalisation = Callable[[Tensor, Tensor, Tensor], Tensor]


class _ClampTowardsRange(torch.autograd.Function):
    """Clamp to [0, 1] whose gradient survives outside wherever it points back inside."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        # A descent step moves x by -gradient: keep it only if that does not lead further out.
        outward = gradient * (x - x.clamp(0, 1)) < 0
        return gradient.masked_fill(outward, 0)


def clamp_towards_range(x: Tensor) -> Tensor:
    """Clamp to [0, 1], any shape. Saturated pixels keep the gradient that would bring them back.

    A tanh or a plain clamp gives a saturated pixel no gradient, and dead black patches remain.
    """
    return _ClampTowardsRange.apply(x)  # type: ignore[no-any-return]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel's plane, float32 [N, C, 1, 1], of [N, C, H, W]."""
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
    return mean, variance


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Give each plane of x [N, C, H, W] the given scale and shift [N, C], statistics in float32."""
    mean, variance = moments(x)
    gain = scale.float()[..., None, None] * torch.rsqrt(variance + EPSILON)
    return ((x.float() - mean) * gain + shift.float()[..., None, None]).to(x.dtype)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift each plane of x [N, C, H, W] by [N, C], without looking at its statistics."""
    return x * scale[..., None, None] + shift[..., None, None]


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    # No bias: the normalisation that follows subtracts the mean, and the bias with it.
    return nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", bias=False
    )


class TransformNetwork(nn.Module):
    """Paints an image in the style that a vector describes."""

    def __init__(self, width: int = 32, residual_blocks: int = 5) -> None:
        """Build a network of `width` channels at full resolution, twice and four times below."""
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
        # huge activation that swells the variance in every instance norm: a grey hole for good.
        with torch.no_grad():
            self.output.weight.mul_(OUTPUT_GAIN)

    @property
    def channels(self) -> list[int]:
        """The number of channels of each normalised layer, in the order they run."""
        w = self.width
        return [w, 2 * w, 4 * w] + [4 * w] * (2 * self.residual_blocks) + [2 * w, w]

    @property
    def style_dimension(self) -> int:
        """D, the length of a style vector: a scale and a shift for every normalised channel."""
        return 2 * sum(self.channels)

    def neutral_style(self) -> Tensor:
        """The style vector that a fit starts from, [D]: plain instance norm, quiet residuals."""
        scales = [1.0] * 3 + [1.0, RESIDUAL_GAIN] * self.residual_blocks + [1.0] * 2
        pairs = zip(self.channels, scales, strict=True)
        return torch.cat([t for c, s in pairs for t in (torch.full((c,), s), torch.zeros(c))])

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Paint image [N, 3, H, W] in [0, 1] with style [N, D]: [N, 3, H, W] in [0, 1].

        Any H and W from 16 up; sides that 4 does not divide are padded by reflection and cropped.
        """
        return self._paint(image, style, instance_norm)

    def forward_with_peaks(self, image: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, and [N], how far the normalised planes rise above PEAK; 0 where none does.

        One huge activation at one place swells the variance of its whole plane: a network learns it
        as a way to lower all the rest (the droplets of Karras et al., arXiv:1912.04958). It shows
        as a spot of a wrong colour, and palette and contrast then change with the image's size. A
        fit adds this to its loss.
        """
        peaks: list[Tensor] = []

        def record(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
            mean, variance = moments(x)
            normal = (x.float() - mean) * torch.rsqrt(variance + EPSILON)
            peaks.append((normal.abs().amax((2, 3)) / PEAK - 1).clamp_min(0).mean(1))
            return affine(normal, scale.float(), shift.float()).to(x.dtype)

        pastiche = self._paint(image, style, record)
        return pastiche, torch.stack(peaks).mean(0)

    def freeze(self, image: Tensor, style: Tensor) -> Tensor:
        """Fold the statistics of image [N, 3, H, W] into style [N, D]: a frozen style [N, D].

        Each pair becomes (scale / sigma, shift - scale * mu / sigma), after Chen et al.
        (arXiv:2103.11784).
        """
        frozen: list[Tensor] = []

        def record(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
            mean, variance = moments(x)
            gain = scale * torch.rsqrt(variance + EPSILON)[:, :, 0, 0]
            frozen.extend([gain, shift - gain * mean[:, :, 0, 0]])
            return affine(x, frozen[-2], frozen[-1])

        self._paint(image, style, record)
        return torch.cat(frozen, dim=1)

    def apply_frozen(self, image: Tensor, frozen: Tensor) -> Tensor:
        """Paint image [N, 3, H, W] with a frozen style [N, D]; purely local, so tiles agree."""
        return self._paint(image, frozen, affine)

    def _paint(self, image: Tensor, style: Tensor, normalise: Normalisation) -> Tensor:
        pieces = iter(torch.split(style, [c for c in self.channels for _ in range(2)], dim=1))

        def norm(x: Tensor) -> Tensor:
            return normalise(x, next(pieces), next(pieces))

        height, width = image.shape[-2:]
        x = F.pad(image - 0.5, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        for convolution in self.encoder:
            x = F.relu(norm(convolution(x)))
        for block in self.residual:
            first, second = block.children()
            x = x + norm(second(F.relu(norm(first(x)))))
        for convolution in self.decoder:
            x = F.relu(norm(convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))))
        return clamp_towards_range(0.5 + self.output(x)[..., :height, :width].float())


class StyledNetwork(nn.Module):
    """A transform network and the style vectors that are fitted with it."""

    def __init__(self, network: TransformNetwork, styles: int) -> None:
        """Start `styles` style vectors at plain instance norm."""
        super().__init__()
        self.network = network
        self.styles = nn.Parameter(network.neutral_style().repeat(styles, 1))

    def forward(self, image: Tensor, style_index: Tensor) -> tuple[Tensor, Tensor]:
        """What a fit needs: forward_with_peaks in the styles numbered by style_index, int64 [N]."""
        return self.network.forward_with_peaks(image, self.styles[style_index])

    def paint(self, image: Tensor, style_index: Tensor) -> Tensor:
        """Paint image [N, 3, H, W] in the styles numbered by style_index, int64 [N]."""
        return self.network(image, self.styles[style_index])  # type: ignore[no-any-return]
