import pytest
import torch
from torch import Tensor

from tests.tools.tiny import tiny_generator
from training.fit.networks.generator import Generator, TextureModel, pixel_norm


def noise_of(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=rng) * 2 - 1


@torch.no_grad()
def test_a_picture_has_a_stride_of_pixels_for_each_cell_inside_the_margin() -> None:
    model = tiny_generator()
    generator = model.generator
    assert (generator.stride, generator.margin) == (8, 4)
    picture = generator(noise_of(2, 3, 5, 9), model.styles[:2])
    assert picture.shape == (2, 3, 8, 40)
    assert picture.std() > 0.05
    assert 0 <= picture.min() < picture.max() <= 1


@torch.no_grad()
def test_a_tile_is_exactly_that_part_of_the_picture() -> None:
    model = tiny_generator()
    generator, style = model.generator, model.styles[:1]
    noise = noise_of(1, 3, 9, 11)
    whole = generator(noise, style)
    tile = generator(noise[..., 2 : 2 + 3 + 4, 1 : 1 + 2 + 4], style)
    torch.testing.assert_close(tile, whole[..., 16:40, 8:24], rtol=0, atol=1e-6)


@torch.no_grad()
def test_wrapped_noise_gives_a_picture_that_tiles() -> None:
    model = tiny_generator()
    generator, style = model.generator, model.styles[:1]
    cells = torch.arange(4 + 4) % 4
    period = noise_of(1, 3, 4, 4)
    once = generator(period[..., cells, :][..., cells], style)
    cells = torch.arange(8 + 4) % 4
    twice = generator(period[..., cells, :][..., cells], style)
    torch.testing.assert_close(twice, once.repeat(1, 1, 2, 2), rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_style_vector_decides_the_picture() -> None:
    model = tiny_generator()
    noise = noise_of(1, 3, 6, 6).repeat(2, 1, 1, 1)
    one, other = model(noise, torch.tensor([0, 1]))
    assert (one - other).abs().mean() > 0.02
    torch.testing.assert_close(one, model.generator(noise[:1], model.styles[:1])[0])


@torch.no_grad()
def test_a_reduced_picture_blends_two_levels() -> None:
    model = tiny_generator()
    noise, style = noise_of(1, 3, 6, 6), model.styles[:1]
    fine, coarse = (model.generator(noise, style, reduction=r) for r in (1.0, 2.0))
    assert fine.shape == (1, 3, 8, 8)
    assert coarse.shape == (1, 3, 4, 4)
    doubled = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    inside = (fine - 0.5).abs().lt(0.5) & (doubled - 0.5).abs().lt(0.5)  # clamping comes last
    blend = model.generator(noise, style, reduction=1.25)
    torch.testing.assert_close(blend[inside], (0.75 * fine + 0.25 * doubled)[inside])
    assert inside.float().mean() > 0.5


def test_pixel_norm_divides_by_the_root_mean_square_of_a_pixel() -> None:
    x = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    expected = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1) / 12.5**0.5
    torch.testing.assert_close(pixel_norm(x), expected)


def test_a_neutral_style_has_a_scale_of_one_and_no_shift() -> None:
    generator = Generator(1, (2, 3))
    assert generator.neutral_style().tolist() == [1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert generator.style_dimension == 10
    assert torch.equal(TextureModel(generator, 2).styles[1], generator.neutral_style())


@pytest.mark.parametrize(("channels", "widths"), [(0, (4, 4)), (2, (4,)), (2, (4, 0))])
def test_a_generator_that_cannot_be_is_refused(channels: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two positive widths"):
        Generator(channels, widths)
