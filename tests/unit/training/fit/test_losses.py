from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.tools.generated import loss_weights, planes
from training.fit.features import LossNetwork, LossNetworkError
from training.fit.losses import (
    ContentLoss,
    PerceptualLoss,
    StyleLoss,
    blocking_loss,
    checkerboard_loss,
    color_loss,
    gram_matrix,
    grid_spectrum,
    pattern_loss,
    relative_error,
    total_variation,
)

LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def paintings() -> list[Tensor]:
    return [planes(1, 40, 32, seed=10), planes(1, 24, 36, seed=20)]


@pytest.fixture
def loss(paintings: list[Tensor]) -> PerceptualLoss:
    return PerceptualLoss(LossNetwork(loss_weights()), paintings, {"relu2_1": 1.0}, LAYERS)


def test_color_loss_is_the_mean_difference_of_chroma_and_ignores_brightness() -> None:
    photo = planes(2, 8, 8) / 2
    assert torch.allclose(color_loss(photo + 0.25, photo), torch.zeros(2), atol=1e-6)
    redder = photo + torch.tensor([0.1, 0.0, 0.0])[:, None, None]
    # In BT.601 red moves Cb by -0.168736 and Cr by 0.5.
    assert color_loss(redder, photo).tolist() == pytest.approx([0.1 * 0.668736 / 2] * 2, rel=1e-4)


def test_the_gram_matrix_is_the_mean_product_of_two_channels() -> None:
    x = noise(2, 3, 5, 7)
    expected = torch.einsum("nihw,njhw->nij", x, x) / (3 * 5 * 7)
    torch.testing.assert_close(gram_matrix(x), expected)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_an_error_is_relative_to_its_target(scale: float) -> None:
    target = scale * noise(2, 3, 4, 4)
    assert relative_error(target, target).tolist() == [0, 0]
    value = target * torch.tensor([1.5, 3.0])[:, None, None, None]
    torch.testing.assert_close(relative_error(value, target), torch.tensor([0.25, 4.0]))


def test_an_error_is_computed_in_float32() -> None:
    target = torch.full((1, 64), 300.0, dtype=torch.float16)  # whose square is infinite
    error = relative_error(target + 30, target)
    torch.testing.assert_close(error, torch.tensor([0.01]), rtol=1e-3, atol=0)


def test_an_error_relative_to_zero_is_finite() -> None:
    assert relative_error(torch.ones(1, 4), torch.zeros(1, 4)).isfinite().all()


def test_a_flat_picture_has_no_variation_and_a_ramp_has_its_slopes() -> None:
    down, across = torch.arange(6.0)[:, None] * 0.02, torch.arange(9.0) * 0.03
    ramp = (down + across).expand(3, 6, 9)
    images = torch.stack([torch.full((3, 6, 9), 0.7), ramp, ramp.flip(1, 2)])
    torch.testing.assert_close(total_variation(images), torch.tensor([0, 0.05, 0.05]))


def test_layer_weights_are_normalised() -> None:
    target = {name: noise(2, 3, 4, 4, seed=i) for i, name in enumerate(LAYERS)}
    features = {"relu1_1": 2 * target["relu1_1"], "relu2_1": target["relu2_1"]}  # errors 1 and 0
    losses = ContentLoss({"relu1_1": 3.0, "relu2_1": 1.0})(features, target)
    torch.testing.assert_close(losses, torch.tensor([0.75, 0.75]))
    style = StyleLoss({"relu1_1": 3.0, "relu2_1": 1.0}, [{k: v[:1] for k, v in target.items()}])
    losses = style({k: v[:1] for k, v in features.items()}, torch.tensor([0]))
    torch.testing.assert_close(losses, torch.tensor([0.75 * 9]))  # a Gram matrix is a square


def test_a_layer_without_weight_is_left_out() -> None:
    assert ContentLoss({"relu1_1": 2.0, "relu9_9": 0.0}).weights == {"relu1_1": 1.0}


@pytest.mark.parametrize("weights", [{}, {"relu1_1": 0.0}, {"relu1_1": 2.0, "relu2_1": -1.0}])
def test_invalid_layer_weights_are_rejected(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="layer weights"):
        ContentLoss(weights)


def test_each_sample_is_compared_with_its_own_painting(paintings: list[Tensor]) -> None:
    network = LossNetwork(loss_weights())
    style = StyleLoss(LAYERS, [network(painting, LAYERS) for painting in paintings])
    features = network(paintings[1], LAYERS)
    both = {name: torch.cat([f, f]) for name, f in features.items()}
    right, wrong = style(both, torch.tensor([1, 0]))
    assert right < 1e-6
    assert wrong > 0.01


def test_a_photo_is_its_own_content_and_a_painting_its_own_style(
    loss: PerceptualLoss, paintings: list[Tensor]
) -> None:
    photo = planes(1, 24, 36)
    content, style, variation = loss(photo, photo, torch.tensor([1]))
    assert content == 0
    assert style > 0.01
    assert variation == total_variation(photo)
    content, style, _ = loss(paintings[1], photo, torch.tensor([1]))
    assert content > 0.01
    assert style < 1e-6


def test_the_gradient_reaches_the_pastiche_and_not_the_photo(loss: PerceptualLoss) -> None:
    photo, pastiche = planes(2, 16, 16).requires_grad_(), planes(2, 16, 16, seed=5).requires_grad_()
    for term in loss(pastiche, photo, torch.tensor([0, 1])):
        gradient, none = torch.autograd.grad(
            term.sum(), [pastiche, photo], retain_graph=True, allow_unused=True
        )
        assert gradient.isfinite().all()
        assert (gradient.abs().amax((1, 2, 3)) > 0).all()
        assert none is None


@pytest.mark.parametrize("unknown", ["content", "style"])
def test_an_unknown_layer_is_reported_before_the_fit(unknown: str) -> None:
    layers = {"content": LAYERS, "style": LAYERS} | {unknown: {"relu9_9": 1.0}}
    with pytest.raises(LossNetworkError, match="relu9_9"):
        PerceptualLoss(
            LossNetwork(loss_weights()), [planes(1, 64, 64)], layers["content"], layers["style"]
        )


def grey_noise(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return 0.5 + 0.1 * torch.randn(*shape)


@pytest.mark.parametrize(
    ("down", "across", "at"), [(0, 2, 1), (0, 4, 0), (2, 0, 7), (4, 0, 3), (2, 2, 9), (4, 4, 4)]
)
def test_a_wave_on_the_grid_is_a_peak_at_its_own_periods(down: int, across: int, at: int) -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    phase = torch.zeros(128, 128)
    for place, period in ((y, down), (x, across)):
        phase += place / period if period else 0
    image = grey_noise(1, 3, 128, 128) + 0.1 * torch.cos(2 * torch.pi * phase)
    spectrum = grid_spectrum(image)
    assert spectrum.shape == (1, 15)
    assert spectrum.argmax() in (at, 14 if at == 4 else at)  # a wave has its mirror image
    assert spectrum[0, at] > 10


def test_strokes_as_fine_as_the_grid_have_no_checkerboard() -> None:
    x = torch.arange(128)
    loose = grey_noise(1, 3, 128, 128) + 0.1 * torch.cos(2 * torch.pi * x / 5)
    on_grid = grey_noise(1, 3, 128, 128) + 0.1 * torch.cos(2 * torch.pi * x / 4)
    assert checkerboard_loss(loose).item() < 0.1
    assert checkerboard_loss(on_grid).item() > 1
    assert checkerboard_loss(torch.full((1, 3, 128, 128), 0.5)).item() == 0


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (40, 130)])
def test_a_checkerboard_of_any_size_can_be_lowered(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, *shape)
    images[..., ::2] += 0.3
    images.requires_grad_()
    before = checkerboard_loss(images)
    assert before.shape == (2,)
    before.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert checkerboard_loss(images - 0.1 * images.grad / images.grad.abs().max()).lt(before).all()


@pytest.mark.parametrize("loss", [checkerboard_loss, pattern_loss])
def test_only_what_can_be_seen_counts(loss: Callable[[Tensor], Tensor]) -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    wave = (torch.cos(torch.pi * x / 2) * torch.cos(torch.pi * y / 2)).expand(1, 3, 128, 128) / 255
    assert loss(0.5 + 0.2 * wave) < 0.01 * loss(0.5 + 5 * wave)


def gradient_at_a_wave(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The amplitudes of the frequencies of a loss's gradient, for a wave of 32 of 128."""
    image = grey_noise(1, 3, 128, 128) + 0.1 * torch.cos(2 * torch.pi * torch.arange(128) / 4)
    image.requires_grad_()
    loss(image).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    amplitudes: Tensor = torch.fft.fft(image.grad[0].mean((0, 1))).abs()
    return amplitudes


def test_a_checkerboard_is_not_lowered_by_a_weave_beside_it() -> None:
    energy = gradient_at_a_wave(checkerboard_loss)
    # A quarter is the grid's frequency; it is compared with those of 3/32 more and less.
    assert energy[128 // 4 - 12] < 0.1 * energy[128 // 4]


def stamped(photo: Tensor, step: int, seed: int = 0) -> Tensor:
    """A photo with a small ring in a third of its blocks, or with rings `step` pixels apart."""
    y, x = torch.meshgrid(torch.arange(8) - 3.5, torch.arange(8) - 3.5, indexing="ij")
    ring = 0.3 * ((y.square() + x.square()).sqrt().sub(2.5).abs() < 0.7)
    random = torch.Generator().manual_seed(seed)
    spoilt = photo.clone()
    for top in range(0, photo.shape[2] - 8, step):
        for left in range(0, photo.shape[3] - 8, step):
            if torch.rand((), generator=random) < 1 / 3:
                spoilt[..., top : top + 8, left : left + 8] += ring
    return spoilt


@pytest.mark.parametrize("shape", [(128, 128), (121, 150)])
def test_figures_stamped_into_blocks_are_blocking(shape: tuple[int, int]) -> None:
    photo = planes(1, *shape)
    assert blocking_loss(stamped(photo, 8), 8).item() > 0.05
    assert blocking_loss(stamped(photo, 11), 8).item() < 0.01
    assert blocking_loss(photo, 8).item() < 0.01


def test_a_grid_of_blocks_is_blocking() -> None:
    photo = planes(1, 128, 128)
    columns = photo + 0.1 * (torch.arange(128) // 8 % 2)
    rows = photo + 0.1 * (torch.arange(128) // 8 % 2)[:, None]
    for tiles in (columns, rows):
        assert blocking_loss(tiles, 8).item() > 0.05


def test_blocks_that_are_alike_are_blocking_even_if_their_edges_are_everywhere() -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    turns = (x + y) / 8 + torch.tensor([0, 1 / 3, 2 / 3])[:, None, None]  # of the hue
    wave = 0.5 + 0.1 * torch.cos(2 * torch.pi * turns)[None]
    assert blocking_loss(wave, 8).item() > 0.5
    assert blocking_loss(wave, 11).item() < 0.01


def test_stamps_in_a_smooth_corner_of_the_picture_count() -> None:
    photo = planes(1, 128, 256)
    photo[..., :64, :64] = 0.5
    stamps = 0.03 * (stamped(photo, 8) - photo)
    stamps[..., 64:, :] = stamps[..., 64:] = 0
    assert blocking_loss(photo + stamps, 8).item() > blocking_loss(photo, 8).item() + 0.01


def test_blocking_can_be_lowered_in_each_picture_of_a_batch() -> None:
    photo = planes(2, 64, 64)
    images = torch.cat([stamped(photo[:1], 8), stamped(photo[1:], 8, seed=1)]).requires_grad_()
    before = blocking_loss(images, 8)
    before.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert images.grad.isfinite().all()
    step = 0.01 * images.grad / images.grad.abs().amax((1, 2, 3), keepdim=True)
    assert blocking_loss(images - step, 8).lt(before).all()


@pytest.mark.parametrize("period", [3.4, 5.3, 8.0, 11.0])
@pytest.mark.parametrize("shape", [(64, 64), (70, 100), (128, 200)])
def test_a_weave_of_any_period_is_a_pattern(shape: tuple[int, int], period: float) -> None:
    y, x = torch.meshgrid(*(torch.arange(side) for side in shape), indexing="ij")
    plain = grey_noise(1, 3, *shape)
    weave = plain + 0.1 * torch.cos(2 * torch.pi * x / period) * torch.cos(2 * torch.pi * y / 4)
    assert pattern_loss(plain).item() < 1e-3
    assert pattern_loss(weave).item() > max(1e-3, 10 * pattern_loss(plain).item())


def test_a_pattern_in_a_corner_counts() -> None:
    y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    rings = 0.1 * torch.cos(2 * torch.pi * x / 16) * torch.cos(2 * torch.pi * y / 16)
    rings[96:] = rings[:, 96:] = 0
    plain = grey_noise(1, 3, 256, 256)
    assert pattern_loss(plain).item() < 1e-5
    assert pattern_loss(plain + rings).item() > 1e-3


def test_edges_and_flat_pictures_have_no_pattern() -> None:
    edges = grey_noise(1, 3, 128, 128) * 0.1 + (torch.arange(128) // 40 % 2)[:, None]
    flat = torch.full((1, 3, 128, 128), 0.5)
    assert pattern_loss(torch.cat([edges, flat])).max() < 1e-3


def test_a_pattern_is_not_lowered_by_energy_around_it() -> None:
    energy = gradient_at_a_wave(pattern_loss)
    assert energy[:65].argmax() == 128 // 4
    assert energy[128 // 4 - 6] < 0.1 * energy[128 // 4]


def test_each_picture_of_a_batch_has_its_own_spectrum() -> None:
    images = torch.cat([grey_noise(1, 3, 64, 96), torch.rand(1, 3, 64, 96)])
    alone = torch.cat([grid_spectrum(image[None]) for image in images])
    assert torch.allclose(grid_spectrum(images), alone, rtol=1e-4)


def test_transposing_a_picture_transposes_its_spectrum() -> None:
    # Horizontal edges have their energy on one axis, to be compared along that axis only.
    edges = grey_noise(1, 3, 96, 96) * 0.1 + (torch.arange(96) // 11 % 2)[:, None]
    upright, turned = (grid_spectrum(x)[0] for x in (edges, edges.transpose(2, 3)))
    square = torch.cat([torch.ones(1), upright]).reshape(4, 4)
    assert torch.allclose(square.T.flatten()[1:], turned, rtol=1e-3)
