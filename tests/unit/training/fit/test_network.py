import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import make_gallery, make_recipe
from tests.tools.generated import planes
from training.fit.network import (
    EPSILON,
    StyledNetwork,
    TransformNetwork,
    clamp_towards_range,
    instance_norm,
)
from training.graphs.folder import tile_margin

SIDES = [(16, 16), (17, 33), (31, 16), (18, 47), (64, 63)]


def make(blocks: int = 1) -> StyledNetwork:
    return make_gallery(make_recipe().model_copy(update={"residual_blocks": blocks})).eval()


@pytest.fixture
def gallery() -> StyledNetwork:
    return make()


@pytest.mark.parametrize(("height", "width"), SIDES)
@torch.no_grad()
def test_the_pastiche_has_the_size_of_the_photo_and_lies_in_range(
    gallery: StyledNetwork, height: int, width: int
) -> None:
    gallery.network.output.weight.mul_(10)  # so much contrast that the clamp has work to do
    pastiche = gallery.paint(planes(2, height, width), torch.tensor([0, 1]))
    assert pastiche.shape == (2, 3, height, width)
    assert pastiche.min() == 0
    assert pastiche.max() == 1


@torch.no_grad()
def test_sides_that_4_does_not_divide_are_padded_by_reflection(gallery: StyledNetwork) -> None:
    photo, style = planes(1, 18, 45), torch.tensor([0])
    padded = torch.cat([photo, photo[..., -3:-1, :].flip(2)], dim=2)
    padded = torch.cat([padded, padded[..., -4:-1].flip(3)], dim=3)
    whole = gallery.paint(padded, style)[..., :18, :45]
    torch.testing.assert_close(gallery.paint(photo, style), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "blocks", "dimension"), [(32, 5, 3200), (4, 1, 144)])
def test_a_style_is_a_scale_and_a_shift_for_every_normalised_channel(
    width: int, blocks: int, dimension: int
) -> None:
    network = TransformNetwork(width, blocks)
    assert network.style_dimension == dimension == len(network.neutral_style())


@pytest.mark.parametrize(("width", "blocks"), [(0, 1), (4, -1)])
def test_an_impossible_network_is_refused(width: int, blocks: int) -> None:
    with pytest.raises(ValueError, match="width must be at least 1"):
        TransformNetwork(width, blocks)


@torch.no_grad()
def test_a_new_network_starts_near_grey() -> None:
    torch.manual_seed(0)
    pastiche = StyledNetwork(TransformNetwork(4, 1), 1).paint(planes(1, 32, 32), torch.tensor([0]))
    assert pastiche.sub(0.5).abs().max() < 0.2


@torch.no_grad()
def test_styles_in_one_batch_paint_what_each_paints_alone(gallery: StyledNetwork) -> None:
    photos, styles = planes(3, 24, 20), torch.tensor([2, 0, 1])
    together = gallery.paint(photos, styles)
    alone = [gallery.paint(photos[i : i + 1], styles[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    assert (gallery.paint(photos[:1], styles[1:2]) - alone[0]).abs().mean() > 0.01


def test_every_piece_of_the_style_vector_is_used(gallery: StyledNetwork) -> None:
    style = gallery.styles[:1].detach().requires_grad_()
    # Frozen: with statistics, the norm after the last residual block would undo that block's shift.
    pastiche = gallery.network.apply_frozen(planes(1, 32, 32), style)
    (gradient,) = torch.autograd.grad(pastiche.square().sum(), style)
    pieces = torch.split(gradient[0], [c for c in gallery.network.channels for _ in range(2)])
    assert all(piece.abs().max() > 1e-3 for piece in pieces)


@torch.no_grad()
def test_the_last_scale_and_shift_are_the_end_of_the_vector(gallery: StyledNetwork) -> None:
    network, width = gallery.network, gallery.network.width
    style, shift = gallery.styles[:1].clone(), torch.linspace(-0.1, 0.2, width)
    style[:, -2 * width : -width] = 0
    style[:, -width:] = shift
    pastiche = network(planes(1, 16, 16), style)
    assert network.output.bias is not None
    colour = 0.5 + network.output.bias + network.output.weight.sum((2, 3)) @ shift.relu()
    expected = colour.clamp(0, 1)[None, :, None, None].expand(1, 3, 16, 16)
    torch.testing.assert_close(pastiche, expected, rtol=0, atol=1e-5)


def test_instance_norm_gives_each_plane_its_scale_and_shift() -> None:
    scale, shift = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 5.0], [-1.0, 9.0]])
    x = 7 * torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + 3
    y = instance_norm(x, scale, shift)
    torch.testing.assert_close(y.mean((2, 3)), shift, rtol=0, atol=1e-4)
    torch.testing.assert_close(y.std((2, 3), correction=0), scale, rtol=1e-4, atol=0)


# bfloat16 has numbers 4 apart near 1000, so a mean of its own is off by up to 2; in float16 the
# square of a deviation of 300 is infinite.
@pytest.mark.parametrize(("dtype", "spread"), [(torch.bfloat16, 10), (torch.float16, 300)])
def test_statistics_are_taken_in_float32_whatever_comes_in(dtype: torch.dtype, spread: int) -> None:
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    x = (1002 + spread * noise).to(dtype)
    with torch.autocast("cpu", dtype):
        y = instance_norm(x, torch.ones(1, 3), torch.zeros(1, 3))
    assert y.dtype == dtype
    expected = F.instance_norm(x.double(), eps=EPSILON)
    torch.testing.assert_close(y.double(), expected, rtol=2**-8, atol=1e-3)


@torch.no_grad()
def test_mixed_precision_paints_nearly_the_same_in_float32(gallery: StyledNetwork) -> None:
    photos, styles = planes(2, 32, 32), torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gallery.paint(photos, styles)
    assert mixed.dtype == torch.float32
    assert (mixed - gallery.paint(photos, styles)).abs().mean() < 0.02


def test_the_clamp_lets_a_gradient_through_only_where_it_leads_back() -> None:
    x = torch.tensor([-0.5, -0.5, 0.0, 0.4, 0.6, 1.0, 1.5, 1.5], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0])
    y = clamp_towards_range(x)
    assert y.tolist() == x.clamp(0, 1).tolist()
    (kept,) = torch.autograd.grad(y, x, gradient)
    assert kept.tolist() == [0.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 0.0]


@pytest.mark.parametrize(("height", "width"), SIDES)
@torch.no_grad()
def test_freezing_and_applying_is_painting(gallery: StyledNetwork, height: int, width: int) -> None:
    photos, styles = planes(2, height, width), gallery.styles[:2]
    frozen = gallery.network.freeze(photos, styles)
    assert frozen.shape == styles.shape
    painted = gallery.network.apply_frozen(photos, frozen)
    torch.testing.assert_close(painted, gallery.network(photos, styles), rtol=0, atol=1e-4)


@torch.no_grad()
def seam(blocks: int, margin: int) -> float:
    """How far a tile, painted with a margin and cropped, is from its place in the whole."""
    gallery = make(blocks)
    side, tile = 128, slice(48, 80)
    photo = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    frozen = gallery.network.freeze(photo, gallery.styles[:1])
    whole = gallery.network.apply_frozen(photo, frozen)
    around = slice(tile.start - margin, tile.stop + margin)
    part = gallery.network.apply_frozen(photo[..., around, around], frozen)
    inside = slice(margin, margin + tile.stop - tile.start)
    difference: Tensor = (part[..., inside, inside] - whole[..., tile, tile]).abs().max()
    return float(difference)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_tiles_with_the_margin_join_without_a_seam(blocks: int) -> None:
    assert seam(blocks, tile_margin(blocks)) < 1e-5
    assert seam(blocks, tile_margin(blocks) - 8) > 1e-3  # control: two strides less do not do


def test_peaks_are_told_and_painting_stays_the_same(gallery: StyledNetwork) -> None:
    photo, style = planes(2, 48, 48), gallery.styles[:2]
    pastiche, peaks = gallery.network.forward_with_peaks(photo, style)
    torch.testing.assert_close(pastiche, gallery.network(photo, style), rtol=0, atol=1e-5)
    assert peaks.tolist() == [0, 0]
    photo[1] = 0.5
    photo[1, :, 24, 24] = 1  # one pixel alone: some 40 standard deviations
    _, peaks = gallery.network.forward_with_peaks(photo, style)
    assert peaks[0] == 0
    assert peaks[1] > 0.02


def test_a_fit_can_lower_peaks(gallery: StyledNetwork) -> None:
    photo = torch.full((1, 3, 48, 48), 0.5)
    photo[:, :, 24, 24] = 1
    _, peaks = gallery.network.forward_with_peaks(photo, gallery.styles[:1])
    peaks.mean().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in gallery.network.encoder.parameters()]
    assert all(g is not None and g.abs().max() > 0 for g in gradients)
