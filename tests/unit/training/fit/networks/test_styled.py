import torch

from tests.tools.generated import planes
from tests.tools.tiny import NOISY, tiny_network


@torch.no_grad()
def test_boldness_moves_between_the_two_vectors_of_a_style() -> None:
    styled = tiny_network()
    assert styled.bold is not None
    vectors = styled.vectors(torch.tensor([2, 2, 0]), torch.tensor([0.0, 1.0, 0.25]))
    mixed = 0.75 * styled.styles[0] + 0.25 * styled.bold[0]
    torch.testing.assert_close(vectors, torch.stack([styled.styles[2], styled.bold[2], mixed]))


@torch.no_grad()
def test_without_bold_vectors_boldness_has_no_effect() -> None:
    styled = tiny_network(bold=False)
    vectors = styled.vectors(torch.tensor([1, 1]), torch.tensor([0.0, 1.0]))
    assert torch.equal(vectors, styled.styles[[1, 1]])


@torch.no_grad()
def test_painting_uses_the_style_and_the_boldness() -> None:
    styled, photo = tiny_network(), planes(1, 16, 16)
    assert styled.bold is not None
    index = torch.tensor([1])
    painted = styled.paint(photo, index, 1)
    torch.testing.assert_close(painted, styled.network(photo, styled.bold[1:2]))
    assert not torch.allclose(painted, styled.paint(photo, index))
    pastiche, peaks = styled(photo, index, torch.tensor([1.0]))
    torch.testing.assert_close(pastiche, painted, rtol=0, atol=1e-5)
    assert peaks.shape == (1,)


@torch.no_grad()
def test_a_fit_sees_noise_from_many_places_and_a_picture_from_one() -> None:
    styled, photo, index = tiny_network(NOISY), planes(1, 64, 64), torch.tensor([0])
    fitted = [styled(photo, index, torch.zeros(1))[0] for _ in range(2)]
    assert (fitted[0] - fitted[1]).abs().max() > 0.01
    assert torch.equal(styled.paint(photo, index), styled.paint(photo, index))
