"""Tiny networks: a transform network of each layout, and a texture generator."""

import torch

from training.fit.networks.generator import Generator, TextureModel
from training.fit.networks.layout import CompactLayout, JohnsonLayout, Layout
from training.fit.networks.styled import StyledNetwork

JOHNSON = JohnsonLayout(width=4, residual_blocks=1)
COMPACT = CompactLayout(eighth_width=8, blocks=(1, 1, 1))
NOISY = CompactLayout(eighth_width=8, blocks=(1, 1, 1), noise_channels=3)
LAYOUTS: dict[str, Layout] = {"johnson": JOHNSON, "compact": COMPACT, "compact, noise": NOISY}


def tiny_network(
    layout: Layout = JOHNSON, styles: int = 3, seed: int = 0, *, bold: bool = True
) -> StyledNetwork:
    """A network of random weights and styles."""
    torch.manual_seed(seed)
    styled = StyledNetwork(layout.build(), styles, bold=bold)
    with torch.no_grad():
        styled.network.output.weight.mul_(10 if layout.name == "johnson" else 2)
        for vectors in (styled.styles, styled.bold):
            if vectors is not None:
                vectors.add_(0.5 * torch.randn_like(vectors))
    return styled.eval()


def tiny_generator(paintings: int = 2, seed: int = 0) -> TextureModel:
    """A texture generator of random weights and styles, stride 8, for noise of 3 channels."""
    torch.manual_seed(seed)
    model = TextureModel(Generator(3, (8, 8, 6, 4)), paintings)
    with torch.no_grad():
        model.styles.add_(0.3 * torch.randn_like(model.styles))
    return model.eval()
