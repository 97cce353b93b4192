from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.tools.generated import planes
from tests.tools.tiny import LAYOUTS, tiny_network
from training.fit.networks.transform import (
    EPSILON,
    TransformNetwork,
    clamp_towards_range,
    instance_norm,
)

SIDES = [(16, 16), (17, 33), (31, 16), (18, 47), (64, 63)]


@pytest.fixture(params=LAYOUTS)
def painter(request: pytest.FixtureRequest) -> tuple[TransformNetwork, Tensor]:
    """A network and its style vectors [3, D]."""
    styled = tiny_network(LAYOUTS[request.param])
    return styled.network, styled.styles.detach()


Painter = tuple[TransformNetwork, Tensor]


@pytest.mark.parametrize(("height", "width"), SIDES)
@torch.no_grad()
def test_the_pastiche_has_the_size_of_the_photo_and_lies_in_range(
    painter: Painter, height: int, width: int
) -> None:
    network, styles = painter
    network.output.weight.mul_(10)  # the clamp must act
    pastiche = network(planes(2, height, width), styles[:2])
    assert pastiche.shape == (2, 3, height, width)
    assert pastiche.min() == 0
    assert pastiche.max() == 1


@torch.no_grad()
def test_sides_that_the_stride_does_not_divide_are_padded_by_reflection(painter: Painter) -> None:
    network, styles = painter
    photo = planes(1, 22, 45)
    below, right = -22 % network.stride, -45 % network.stride
    padded = F.pad(photo, (0, right, 0, below), mode="reflect")
    whole = network(padded, styles[:1])[..., :22, :45]
    torch.testing.assert_close(network(photo, styles[:1]), whole, rtol=0, atol=1e-6)
    assert below
    assert right


@torch.no_grad()
def test_a_style_is_a_scale_and_a_shift_for_every_normalised_channel(painter: Painter) -> None:
    network, _ = painter
    called: list[int] = []

    def note(x: Tensor) -> Tensor:
        called.append(x.shape[1])
        return x

    network.paint(planes(1, 16, 16) - 0.5, note)
    assert called == network.channels
    assert network.style_dimension == 2 * sum(called) == len(network.neutral_style())


@torch.no_grad()
def test_styles_in_one_batch_paint_what_each_paints_alone(painter: Painter) -> None:
    network, styles = painter
    photos = planes(3, 24, 20)
    together = network(photos, styles)
    alone = [network(photos[i : i + 1], styles[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert (network(photos[:1], styles[1:2]) - alone[0]).abs().mean() > 0.01


def test_every_piece_of_the_style_vector_is_used(painter: Painter) -> None:
    network, styles = painter
    style = styles[:1].requires_grad_()
    # Frozen: a later norm by statistics would undo a residual block's shift.
    pastiche = network.apply_frozen(planes(1, 32, 32), style)
    (gradient,) = torch.autograd.grad(pastiche.square().sum(), style)
    pieces = torch.split(gradient[0], [c for c in network.channels for _ in range(2)])
    assert all(piece.abs().max() > 1e-3 for piece in pieces)


def test_instance_norm_gives_each_plane_its_scale_and_shift() -> None:
    scale, shift = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 5.0], [-1.0, 9.0]])
    x = 7 * torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 3
    y = instance_norm(x, scale, shift)
    torch.testing.assert_close(y.mean((2, 3)), shift, rtol=0, atol=1e-4)
    torch.testing.assert_close(y.std((2, 3), correction=0), scale, rtol=1e-4, atol=0)


# bfloat16 has numbers 4 apart near 1000, so a mean computed in it is off by up to 2; in float16 the
# square of a deviation of 300 is infinite.
@pytest.mark.parametrize(("dtype", "spread"), [(torch.bfloat16, 10), (torch.float16, 300)])
def test_statistics_are_taken_in_float32_whatever_the_input_type(
    dtype: torch.dtype, spread: int
) -> None:
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    x = (1002 + spread * noise).to(dtype)
    with torch.autocast("cpu", dtype):
        y = instance_norm(x, torch.ones(1, 3), torch.zeros(1, 3))
    assert y.dtype == dtype
    expected = F.instance_norm(x.double(), eps=EPSILON)
    torch.testing.assert_close(y.double(), expected, rtol=2**-8, atol=1e-3)


@torch.no_grad()
def test_mixed_precision_paints_nearly_the_same_in_float32(painter: Painter) -> None:
    network, styles = painter
    photos = planes(2, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(photos, styles[:2])
    assert mixed.dtype == torch.float32
    assert (mixed - network(photos, styles[:2])).abs().mean() < 0.03


def test_the_clamp_lets_a_gradient_through_only_where_it_leads_back() -> None:
    x = torch.tensor([-0.5, -0.5, 0.0, 0.4, 0.6, 1.0, 1.5, 1.5], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0])
    y = clamp_towards_range(x)
    assert y.tolist() == x.clamp(0, 1).tolist()
    (kept,) = torch.autograd.grad(y, x, gradient)
    assert kept.tolist() == [0.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 0.0]


@pytest.mark.parametrize(("height", "width"), SIDES)
@torch.no_grad()
def test_freezing_and_applying_is_painting(painter: Painter, height: int, width: int) -> None:
    network, styles = painter
    photos = planes(2, height, width)
    frozen = network.freeze(photos, styles[:2])
    assert frozen.shape == styles[:2].shape
    painted = network.apply_frozen(photos, frozen)
    torch.testing.assert_close(painted, network(photos, styles[:2]), rtol=0, atol=1e-4)


@torch.no_grad()
def seam(painter: Painter, margin: int) -> float:
    """The largest difference between a tile, painted with a margin, and its place in the whole."""
    network, styles = painter
    photo = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    tile = slice(112, 144)
    frozen = network.freeze(photo, styles[:1])
    whole = network.apply_frozen(photo, frozen)
    around = slice(tile.start - margin, tile.stop + margin)
    origin = (around.start, around.start)
    part = network.apply_frozen(photo[..., around, around], frozen, origin)
    inside = slice(margin, margin + tile.stop - tile.start)
    difference: Tensor = (part[..., inside, inside] - whole[..., tile, tile]).abs().max()
    return float(difference)


def test_tiles_with_the_reach_as_margin_join_without_a_seam(painter: Painter) -> None:
    network, _ = painter
    margin = -(-network.reach // network.stride) * network.stride
    assert seam(painter, margin) < 1e-5
    assert seam(painter, margin - 3 * network.stride) > 1e-5  # control: three strides less


@torch.no_grad()
def test_only_noise_depends_on_the_origin(painter: Painter) -> None:
    network, styles = painter
    photo = planes(1, 64, 64)
    frozen = network.freeze(photo, styles[:1])
    here, there = (network.apply_frozen(photo, frozen, origin) for origin in ((0, 0), (8, 16)))
    assert ((here - there).abs().max() > 0.01) == network.has_noise


def test_peaks_are_reported_and_the_pastiche_stays_the_same(painter: Painter) -> None:
    network, styles = painter
    photo, style = planes(2, 48, 48), styles[:2]
    pastiche, peaks = network.forward_with_peaks(photo, style)
    torch.testing.assert_close(pastiche, network(photo, style), rtol=0, atol=1e-5)
    photo[1] = 0.5
    photo[1, :, 24, 24] = 1  # one pixel alone: some 40 standard deviations
    _, with_peak = network.forward_with_peaks(photo, style)
    assert with_peak[0] == peaks[0]
    assert with_peak[1] > peaks[1] + 0.02


def test_a_fit_can_lower_peaks(painter: Painter) -> None:
    network, styles = painter
    photo = torch.full((1, 3, 48, 48), 0.5)
    photo[:, :, 24, 24] = 1
    _, peaks = network.forward_with_peaks(photo, styles[:1])
    weights = list(network.parameters())
    gradients: Any = torch.autograd.grad(peaks.mean(), weights, allow_unused=True)
    assert max(float(g.abs().max()) for g in gradients if g is not None) > 0
