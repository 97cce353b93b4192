"""The interface of transform networks: an image and a style vector in, an image out.

Instance norm after Ulyanov et al. (arXiv:1607.08022), with its scale and shift given from outside
after Dumoulin et al. (arXiv:1610.07629). All scales and shifts, end to end, are the style vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to the variance in every instance norm, in the exported graphs too
PEAK = 7.0  # standard deviations that a normalised plane of a photograph plausibly reaches

Normalise = Callable[[Tensor], Tensor]
Origin = tuple[int, int]  # (y, x) of a tile's first pixel in the whole picture
_ScaleAndShift = Callable[[Tensor, Tensor, Tensor], Tensor]


class _ClampTowardsRange(torch.autograd.Function):
    """Clamp to [0, 1]; outside, keep the gradient that points back inside."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        # A descent step moves x by -gradient: drop it where that leads further out.
        outward = gradient * (x - x.clamp(0, 1)) < 0
        return gradient.masked_fill(outward, 0)


def clamp_towards_range(x: Tensor) -> Tensor:
    """Clamp a tensor of any shape to [0, 1]. Saturated pixels keep the gradient that recovers them.

    A tanh or a plain clamp gives saturated pixels no gradient and leaves dead black patches.
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


class TransformNetwork(nn.Module, ABC):
    """Paints an image in the style that a vector describes."""

    stride: ClassVar[int]  # both sides of an image are padded to multiples of it
    output: nn.Conv2d  # the last convolution

    @property
    @abstractmethod
    def channels(self) -> list[int]:
        """The number of channels of each normalisation, in the order they run."""

    @property
    @abstractmethod
    def initial_scales(self) -> list[float]:
        """The scale that a fit starts each normalisation with."""

    @property
    @abstractmethod
    def reach(self) -> int:
        """How many pixels away a pixel of the output can depend on the input."""

    @abstractmethod
    def paint(self, x: Tensor, normalise: Normalise, origin: Origin = (0, 0)) -> Tensor:
        """Paint x [N, 3, H, W] in [-0.5, 0.5]: [N, 3, H, W] of the same range, not clamped.

        H, W and origin are multiples of `stride`. normalise: called once for each normalisation, in
        order. origin: of x in the picture that it is a tile of; only noise depends on it.
        """

    @property
    def has_noise(self) -> bool:
        """Whether a tile's picture depends on its origin."""
        return False

    @property
    def style_dimension(self) -> int:
        """D, the length of a style vector: a scale and a shift for every normalised channel."""
        return 2 * sum(self.channels)

    def neutral_style(self) -> Tensor:
        """The style vector that a fit starts from, [D]."""
        pairs = zip(self.channels, self.initial_scales, strict=True)
        return torch.cat([t for c, s in pairs for t in (torch.full((c,), s), torch.zeros(c))])

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Paint image [N, 3, H, W] in [0, 1] with style [N, D]: [N, 3, H, W] in [0, 1].

        Any H and W from 16 up: the image is padded by reflection to multiples of `stride`.
        """
        return self._paint(image, style, instance_norm)

    def forward_with_peaks(
        self, image: Tensor, style: Tensor, origin: Origin = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """As forward, and [N]: how far the normalised planes exceed PEAK, 0 where none does.

        One huge activation at one place raises the variance of its whole plane. A network learns
        that as a way to lower everything else (the droplets of Karras et al., arXiv:1912.04958). It
        shows as a spot of a wrong colour, and palette and contrast then change with the image's
        size. A fit adds this term to its loss.
        """
        peaks: list[Tensor] = []

        def record(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
            mean, variance = moments(x)
            normal = (x.float() - mean) * torch.rsqrt(variance + EPSILON)
            peaks.append((normal.abs().amax((2, 3)) / PEAK - 1).clamp_min(0).mean(1))
            return affine(normal, scale.float(), shift.float()).to(x.dtype)

        pastiche = self._paint(image, style, record, origin)
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

    def apply_frozen(self, image: Tensor, frozen: Tensor, origin: Origin = (0, 0)) -> Tensor:
        """Paint image [N, 3, H, W] with a frozen style [N, D]; purely local, so tiles agree.

        origin: of a tile in the whole picture, multiples of `stride`.
        """
        return self._paint(image, frozen, affine, origin)

    def _paint(
        self,
        image: Tensor,
        style: Tensor,
        scale_and_shift: _ScaleAndShift,
        origin: Origin = (0, 0),
    ) -> Tensor:
        pieces = iter(torch.split(style, [c for c in self.channels for _ in range(2)], dim=1))

        def normalise(x: Tensor) -> Tensor:
            return scale_and_shift(x, next(pieces), next(pieces))

        height, width = image.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        x = self.paint(F.pad(image - 0.5, padding, mode="reflect"), normalise, origin)
        return clamp_towards_range(0.5 + x[..., :height, :width].float())
