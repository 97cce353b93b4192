"""A transform network with the style vectors that are fitted with it."""

import torch
from torch import Tensor, nn

from training.fit.networks.transform import TransformNetwork


class StyledNetwork(nn.Module):
    """A transform network and two vectors a style: gentle, which keeps the photograph, and bold.

    Between them lie pictures of any strength: a fit draws points on the line, and weights style
    against content accordingly (after Babaeizadeh and Ghiasi, arXiv:1811.08560).
    """

    def __init__(self, network: TransformNetwork, styles: int) -> None:
        """Start the vectors of every style at plain instance norm."""
        super().__init__()
        self.network = network
        self.styles = nn.Parameter(network.neutral_style().repeat(styles, 2, 1))

    def vectors(self, style_index: Tensor, boldness: Tensor) -> Tensor:
        """Style vectors [N, D] for style_index int64 [N] and boldness [N], 0 gentle to 1 bold."""
        gentle, bold = self.styles[style_index].unbind(1)
        return torch.lerp(gentle, bold, boldness[:, None])

    def forward(
        self, image: Tensor, style_index: Tensor, boldness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a fit needs: forward_with_peaks of image [N, 3, H, W] in these styles."""
        return self.network.forward_with_peaks(image, self.vectors(style_index, boldness))

    def paint(self, image: Tensor, style_index: Tensor, boldness: Tensor) -> Tensor:
        """Paint image [N, 3, H, W] in these styles."""
        return self.network(image, self.vectors(style_index, boldness))  # type: ignore[no-any-return]
