import torch

from tests.tools.generated import planes
from tests.tools.tiny import tiny_network


@torch.no_grad()
def test_boldness_moves_between_the_two_vectors_of_a_style() -> None:
    styled = tiny_network()
    index = torch.tensor([2, 2, 0])
    vectors = styled.vectors(index, torch.tensor([0.0, 1.0, 0.25]))
    gentle, bold = styled.styles.unbind(1)
    expected = torch.stack([gentle[2], bold[2], 0.75 * gentle[0] + 0.25 * bold[0]])
    torch.testing.assert_close(vectors, expected)


@torch.no_grad()
def test_painting_uses_the_style_and_the_boldness_of_each_sample() -> None:
    styled, photo = tiny_network(), planes(1, 16, 16)
    index, boldness = torch.tensor([1]), torch.tensor([1.0])
    painted = styled.paint(photo, index, boldness)
    torch.testing.assert_close(painted, styled.network(photo, styled.styles[1:2, 1]))
    pastiche, peaks = styled(photo, index, boldness)
    torch.testing.assert_close(pastiche, painted, rtol=0, atol=1e-5)
    assert peaks.shape == (1,)
