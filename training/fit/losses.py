"""Perceptual losses, normalised so that the same weights suit every loss network.

Content and style after Gatys et al. (arXiv:1508.06576) and Johnson et al. (arXiv:1603.08155).
Unlike both, every term is divided by the mean square of its target: it is a relative error and
does not depend on the scale of a loss network's features.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.features import LossNetwork

TILE = 32  # pixels; side of the squares whose spectra are computed
PERIOD = 4  # pixels; the stride of Johnson's layout
PERIODS_IN_TILE = 8  # of a grid, in the squares whose spectra show it
PATTERN_TILE = 64  # pixels; side of the squares whose spectra show regular patterns
AROUND = 4  # frequencies on each side of one that are its surroundings
LOWEST = 3  # waves in a tile; the spectrum of any picture bends below
VISIBLE = 0.5 / 255  # amplitude of a wave; weaker ones are lost when the picture is rounded
PLAIN = 0.75  # nepers; the highest peaks of most photographs and paintings are lower
ONE_TILE = 2.0  # nepers, divided by the number of tiles: how much higher chance takes them
EDGES = (1, 3)  # pixels; strokes of a block have both fine and coarse edges
LOCAL = 9  # pixels; side of the squares whose mean is not fine structure
PART = 8  # blocks; side of the parts of a picture in which stamps are looked for
FAINT = 1 / 255  # differences of this size are hardly visible
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # Cb and Cr of BT.601
ROUNDING = (1 / 255) ** 2 / 12  # variance of 8-bit rounding; keeps flat tiles from dominating


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations [N, C, C] of features [N, C, h, w], divided by C h w."""
    n, c, h, w = features.shape
    flat = features.reshape(n, c, h * w)
    return flat @ flat.transpose(1, 2) / (c * h * w)


def relative_error(value: Tensor, target: Tensor) -> Tensor:
    """Squared distance over the target's squared norm, per sample: [N] of two [N, ...]."""
    value, target = value.float().flatten(1), target.float().flatten(1)
    return (value - target).square().sum(1) / target.square().sum(1).clamp_min(1e-12)


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, per sample: [N] of image [N, C, H, W]."""
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().flatten(1).mean(1)
    across = (image[..., 1:] - image[..., :-1]).abs().flatten(1).mean(1)
    return down + across


def color_loss(image: Tensor, photo: Tensor) -> Tensor:
    """Mean absolute difference of the chroma, per sample: [N] of two [N, 3, H, W] in [0, 1]."""
    chroma = image.new_tensor(_CHROMA)
    return torch.einsum("kc,nchw->nkhw", chroma, image - photo).abs().flatten(1).mean(1)


def checkerboard_loss(image: Tensor, period: int = PERIOD) -> Tensor:
    """Mean squared logarithm of the peaks of grid_spectrum, per sample: [N]; 0 without peaks."""
    return grid_spectrum(image, period).log().clamp_min(0).square().mean(1)


def grid_spectrum(image: Tensor, period: int = PERIOD) -> Tensor:
    """Height of the spectral peaks at the grid frequencies of [N, 3, H, W]: [N, period^2 - 1].

    The frequencies are those whose periods divide `period`, the stride of the network: upsampling
    prints its grid there (Odena et al. 2016). Their energy is divided by that of neighbouring
    frequencies, so that fine strokes do not count as a grid: 1 means no peak. The mean over tiles
    is geometric, because a grid is most visible where the picture has little else. H and W must be
    at least 8 periods.
    """
    side = PERIODS_IN_TILE * period
    power = _log_power(image, side).mean(1)
    # The Hann window leaks a peak into its next neighbours, so compare with those three away.
    up_down, across = ((power.roll(3, axis) + power.roll(-3, axis)) / 2 for axis in (1, 2))
    # Horizontal and vertical edges put their energy on the axes: compare those along the axis.
    bins = torch.arange(side, device=image.device)
    neighbours = torch.where(bins[:, None] == 0, across, (up_down + across) / 2)
    neighbours = torch.where((bins == 0) & (bins[:, None] > 0), up_down, neighbours)
    # No gradient to the neighbours: a fit would hide its grid behind a weave at their frequencies.
    peaks = (power - neighbours.detach())[:, ::PERIODS_IN_TILE, ::PERIODS_IN_TILE]
    return peaks.flatten(1)[:, 1:].exp()


def blocking_loss(image: Tensor, period: int) -> Tensor:
    """How much blocks of `period` pixels have in common, per sample: [N] of [N, 3, H, W].

    A network of stride `period` can stamp the same small figure into many neighbouring blocks. If
    they come and go, their spectral peaks are low, but the blocks are alike, or their edges lie at
    the same places. The loss is the _likeness and the _unevenness beyond those of blocks a pixel
    larger and smaller, which are due to chance; about 0 for photographs and paintings. H and W must
    be at least `period` + 1 + EDGES[-1].
    """
    likeness = _excess(_likeness, _fine_structure(image), period)
    unevenness = [_excess(_unevenness, edges, period) for edges in _log_edges(image)]
    return likeness.clamp_min(0) + torch.stack(unevenness).mean(0).clamp_min(0)


def _excess(measure: Callable[[Tensor, int], Tensor], values: Tensor, period: int) -> Tensor:
    """A measure of blocks, less its mean for blocks a pixel larger and smaller: [N]."""
    found = values.detach()
    return measure(values, period) - (measure(found, period - 1) + measure(found, period + 1)) / 2


def _fine_structure(image: Tensor) -> Tensor:
    """[N, 3, H, W] less its local mean."""
    around = F.avg_pool2d(F.pad(image, (LOCAL // 2,) * 4, mode="replicate"), LOCAL, stride=1)
    return (image - around).float()


def _likeness(fine: Tensor, period: int) -> Tensor:
    """The share of fine structure [N, 3, H, W] that all blocks of a part have in common: [N].

    Energy of the mean block over the mean energy of the blocks. The mean over the parts of the
    picture is arithmetic, so that a smooth sky counts.
    """
    places = _places(fine, period)
    common = _means_of_parts(places).square().mean(1)
    energy = _means_of_parts(places.square()).mean(1)
    return (common / (energy + FAINT**2)).mean((1, 2))


def _log_edges(image: Tensor) -> list[Tensor]:
    """Log energy of differences over EDGES pixels down and across, [N, 1, h, w] each."""
    energies = []
    for step in EDGES:
        here = image[..., :-step, :-step]
        for there in (image[..., step:, :-step], image[..., :-step, step:]):
            energies.append((there - here).float().square().mean(1, keepdim=True) + FAINT**2)
    return [energy.log() for energy in energies]


def _unevenness(edges: Tensor, period: int) -> Tensor:
    """The variance of log energy [N, 1, h, w] over the places of a block, nepers squared: [N].

    The mean over the blocks of a part of the picture is geometric, as a stamp is in all of them and
    an edge of the motif in few; the mean over the parts is arithmetic, so that a smooth sky counts.
    Measures of JPEG's blocking artefacts compare the energy at block boundaries only (Wang et al.,
    "No-reference perceptual quality assessment of JPEG compressed images", 2002).
    """
    return _means_of_parts(_places(edges, period)).var(1, correction=0).mean((1, 2))


def _places(values: Tensor, period: int) -> Tensor:
    """[N, C period^2, h, w] of [N, C, H, W]: a channel for each place in a block of `period`."""
    height, width = (side // period * period for side in values.shape[2:])
    return F.pixel_unshuffle(values[..., :height, :width], period)


def _means_of_parts(blocks: Tensor) -> Tensor:
    """Means of [N, C, h, w] over squares of PART blocks that overlap by half."""
    side = min(PART, *blocks.shape[2:])
    return F.avg_pool2d(blocks, side, stride=-(-side // 2))


def pattern_loss(image: Tensor) -> Tensor:
    """Mean squared height of all peaks of the spectrum, in nepers, per sample: [N].

    A weave, hatch or row of rings is a narrow peak in the spectrum of the places that it covers;
    strokes and textures have none, in photographs or in paintings. The energy of each tile is
    divided by that of neighbouring frequencies, and the mean over tiles is arithmetic, so that a
    pattern counts even in a small part of the picture. Peaks as high as those of photographs do
    not count, nor do periods of more than PATTERN_TILE / LOWEST pixels. H and W must be at least
    32.
    """
    side = min(PATTERN_TILE, *image.shape[2:])
    power = _log_power(image, side)
    around = F.pad(power.detach(), (AROUND,) * 4, mode="circular")
    heights = (power - F.avg_pool2d(around, 2 * AROUND + 1, stride=1)).exp().mean(1).log()
    peaks = heights - _surroundings(heights.detach())
    frequency = torch.fft.fftfreq(side, device=image.device) * side
    counts = (frequency[:, None].square() + frequency.square()).sqrt() >= LOWEST
    plain = PLAIN + ONE_TILE / power.shape[1]
    return (peaks - plain).clamp_min(0).square()[:, counts].mean(1)


def _log_power(image: Tensor, side: int) -> Tensor:
    """The log power spectra [N, tiles, side, side] of the squares that cover the picture."""
    window = torch.hann_window(side, periodic=True, device=image.device)
    tiles = tiles_of(grey(image.float()), side, side // 2)
    tiles = (tiles - tiles.mean((2, 3), keepdim=True)) * window[:, None] * window
    floor = (VISIBLE / 2 * window.sum() ** 2) ** 2
    spectrum = torch.view_as_real(torch.fft.fft2(tiles)).square().sum(-1)
    return (spectrum + floor).log()


def _surroundings(power: Tensor) -> Tensor:
    """The median of each frequency's neighbours, [N, S, S] of the same.

    The highest of three: of a square, a row and a column around it. Horizontal and vertical edges
    put their energy on the axes.
    """
    around = F.pad(power[:, None], (AROUND,) * 4, mode="circular")[:, 0]
    length = 2 * AROUND + 1
    squares = around.unfold(1, length, 1).unfold(2, length, 1)
    sets = (squares.flatten(3), squares[..., AROUND, :], squares[..., AROUND])
    return torch.stack([values.median(3).values for values in sets]).amax(0)


def grey(image: Tensor) -> Tensor:
    """Return the luma [N, H, W] of RGB [N, 3, H, W]."""
    return (image * image.new_tensor(_GREY)[:, None, None]).sum(1)


def tiles_of(planes: Tensor, side: int, step: int) -> Tensor:
    """Cut [N, H, W] into squares, one every `step` pixels: [N, count, side, side].

    H and W must be at least `side`.
    """
    tiles = planes.unfold(1, side, step).unfold(2, side, step)
    return tiles.flatten(1, 2)


class ContentLoss(nn.Module):
    """Relative error of the features with respect to the photo's, a weighted sum over layers."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        """weights: by layer name; scaled to sum to 1."""
        super().__init__()
        self.weights = _normalised(weights)

    def forward(self, features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Return the loss per sample, [N]."""
        return _weighted(
            [w * relative_error(features[name], target[name]) for name, w in self.weights.items()]
        )


class StyleLoss(nn.Module):
    """Relative error of the Gram matrices with respect to the painting's, summed over layers."""

    def __init__(
        self, weights: Mapping[str, float], paintings: Sequence[Mapping[str, Tensor]]
    ) -> None:
        """weights: by layer name, scaled to sum to 1. paintings: their features [1, C, h, w]."""
        super().__init__()
        self.weights = _normalised(weights)
        for name in self.weights:
            grams = torch.cat([gram_matrix(features[name]) for features in paintings])
            self.register_buffer(f"gram_{name}", grams)

    def forward(self, features: Mapping[str, Tensor], style_index: Tensor) -> Tensor:
        """Return the loss per sample, [N]; style_index, int64 [N], selects the painting of each."""
        return _weighted(
            [
                w * relative_error(gram_matrix(features[name]), self._gram(name)[style_index])
                for name, w in self.weights.items()
            ]
        )

    def _gram(self, name: str) -> Tensor:
        return self.get_buffer(f"gram_{name}")


class PerceptualLoss(nn.Module):
    """Content, style and total variation of a batch of pastiches, with one loss network."""

    def __init__(
        self,
        network: LossNetwork,
        paintings: Sequence[Tensor],
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
    ) -> None:
        """paintings: one image [1, 3, H, W] in [0, 1] for each style."""
        super().__init__()
        self.network = network
        self.content = ContentLoss(content_layers)
        self.layers = sorted({*content_layers, *style_layers})
        with torch.no_grad():
            # All layers, so that an unknown layer raises here and not in the first step.
            features = [network(painting, self.layers) for painting in paintings]
        self.style = StyleLoss(style_layers, features)

    def forward(
        self, pastiche: Tensor, photo: Tensor, style_index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (content, style, total variation) per sample, unweighted, [N] each.

        pastiche and photo: [N, 3, H, W] in [0, 1]; style_index: int64 [N].
        """
        with torch.no_grad():
            target = self.network(photo, list(self.content.weights))
        features = self.network(pastiche, self.layers)
        return (
            self.content(features, target),
            self.style(features, style_index),
            total_variation(pastiche),
        )


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    if total <= 0 or min(weights.values()) < 0:
        raise ValueError("layer weights must not be negative and must not all be zero")
    return {name: weight / total for name, weight in weights.items() if weight}


def _weighted(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(0)
