"""A transform network with the style vectors that are fitted with it."""

import torch
from torch import Tensor, nn

from training.fit.networks.transform import TransformNetwork


class StyledNetwork(nn.Module):
    """A transform network and one or two vectors a style: the default one, and a bold one.

    Between the two lie pictures of any strength: a fit draws points on the line and weights style
    against content accordingly (after Babaeizadeh and Ghiasi, arXiv:1811.08560).
    """

    def __init__(self, network: TransformNetwork, styles: int, *, bold: bool = False) -> None:
        """Start the vectors of every style at plain instance norm. bold: have bold vectors."""
        super().__init__()
        self.network = network
        neutral = network.neutral_style().repeat(styles, 1)
        self.styles = nn.Parameter(neutral)
        self.bold = nn.Parameter(neutral.clone()) if bold else None

    def vectors(self, style_index: Tensor, boldness: Tensor) -> Tensor:
        """Style vectors [N, D] for style_index int64 [N] and boldness [N], 0 to 1 for bold."""
        vectors = self.styles[style_index]
        if self.bold is None:
            return vectors
        return torch.lerp(vectors, self.bold[style_index], boldness[:, None])

    def forward(
        self, image: Tensor, style_index: Tensor, boldness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a fit needs: forward_with_peaks of image [N, 3, H, W] in these styles.

        With noise from a random place, so that a fit does not learn one part of it by heart.
        """
        y, x = (self.network.stride * place for place in torch.randint(2**16, (2,)).tolist())
        vectors = self.vectors(style_index, boldness)
        return self.network.forward_with_peaks(image, vectors, (y, x))

    def paint(self, image: Tensor, style_index: Tensor, boldness: float = 0.0) -> Tensor:
        """Paint image [N, 3, H, W] in these styles."""
        how_bold = torch.full_like(style_index, boldness, dtype=torch.float32)
        vectors = self.vectors(style_index, how_bold)
        return self.network(image, vectors)  # type: ignore[no-any-return]
