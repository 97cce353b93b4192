import pytest
import torch

from tests.tools.generated import planes
from training.fit.networks.compact import CompactNetwork, replicate, unshuffle


@pytest.mark.parametrize(
    ("quarter", "eighth", "blocks", "dimension"),
    [(48, 128, (1, 6, 4), 2208), (64, 8, (0, 1, 0), 272)],
)
def test_the_style_dimension_follows_from_widths_and_blocks(
    quarter: int, eighth: int, blocks: tuple[int, int, int], dimension: int
) -> None:
    assert CompactNetwork(quarter, eighth, blocks).style_dimension == dimension


@pytest.mark.parametrize(
    ("quarter", "eighth", "blocks"), [(47, 8, (1, 1, 1)), (48, 0, (1, 1, 1)), (48, 8, (1, -1, 1))]
)
def test_an_impossible_network_is_refused(
    quarter: int, eighth: int, blocks: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match="quarter_width must be at least 48"):
        CompactNetwork(quarter, eighth, blocks)


@torch.no_grad()
def test_a_new_network_starts_with_the_photograph() -> None:
    torch.manual_seed(0)
    network = CompactNetwork()
    photo = planes(1, 64, 64)
    pastiche = network(photo, network.neutral_style()[None])
    both = torch.stack([photo.flatten(), pastiche.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.7


def test_unshuffling_keeps_every_pixel() -> None:
    x = planes(1, 8, 8)
    y = unshuffle(x, 4)
    assert y.shape == (1, 48, 2, 2)
    assert sorted(y.flatten().tolist()) == sorted(x.flatten().tolist())
    assert y[0, :16, 0, 0].tolist() == x[0, 0, :4, :4].flatten().tolist()


def test_padding_repeats_the_edge() -> None:
    padded = replicate(torch.tensor([[[[1.0, 2.0]]]]), 1)
    assert padded[0, 0].tolist() == [[1, 1, 2, 2]] * 3


def test_padding_has_the_same_values_and_gradients_when_compiled() -> None:
    x = planes(2, 8, 12).contiguous(memory_format=torch.channels_last)
    weights = torch.rand(2, 3, 14, 18, generator=torch.Generator().manual_seed(0))
    weights = weights.contiguous(memory_format=torch.channels_last)
    found = []
    for pad in (replicate, torch.compile(replicate, backend="aot_eager")):
        image = x.clone().requires_grad_()
        padded = pad(image, 3)
        (padded * weights).sum().backward()  # type: ignore[no-untyped-call]
        found.append((padded.detach(), image.grad))
    torch.testing.assert_close(found[1], found[0])
