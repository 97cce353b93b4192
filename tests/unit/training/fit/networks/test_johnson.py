import pytest
import torch

from tests.tools.generated import planes
from tests.tools.tiny import JOHNSON, tiny_network
from training.fit.networks.johnson import JohnsonNetwork


@pytest.mark.parametrize(("width", "blocks", "dimension"), [(32, 5, 3200), (4, 1, 144)])
def test_the_style_dimension_follows_from_width_and_blocks(
    width: int, blocks: int, dimension: int
) -> None:
    assert JohnsonNetwork(width, blocks).style_dimension == dimension


@pytest.mark.parametrize(("width", "blocks"), [(0, 1), (4, -1)])
def test_an_impossible_network_is_refused(width: int, blocks: int) -> None:
    with pytest.raises(ValueError, match="width must be at least 1"):
        JohnsonNetwork(width, blocks)


@torch.no_grad()
def test_a_new_network_starts_near_grey() -> None:
    torch.manual_seed(0)
    network = JohnsonNetwork(4, 1)
    pastiche = network(planes(1, 32, 32), network.neutral_style()[None])
    assert pastiche.sub(0.5).abs().max() < 0.2


@torch.no_grad()
def test_the_last_scale_and_shift_are_the_end_of_the_vector() -> None:
    styled = tiny_network(JOHNSON)
    network = styled.network
    assert isinstance(network, JohnsonNetwork)
    width = network.width
    style, shift = styled.styles[:1].clone(), torch.linspace(-0.1, 0.2, width)
    style[:, -2 * width : -width] = 0
    style[:, -width:] = shift
    pastiche = network(planes(1, 16, 16), style)
    assert network.output.bias is not None
    colour = 0.5 + network.output.bias + network.output.weight.sum((2, 3)) @ shift.relu()
    expected = colour.clamp(0, 1)[None, :, None, None].expand(1, 3, 16, 16)
    torch.testing.assert_close(pastiche, expected, rtol=0, atol=1e-5)
