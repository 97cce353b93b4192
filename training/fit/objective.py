"""The objective of a recipe: its perceptual loss against its paintings."""

from pathlib import Path

import torch

from training.fit.data import load_painting
from training.fit.features import load_loss_network
from training.fit.losses import PerceptualLoss
from training.fit.recipe import Recipe


def perceptual_loss(recipe: Recipe, paintings: Path, device: torch.device) -> PerceptualLoss:
    """The recipe's loss against the paintings in a folder. Raises DataError, LossNetworkError."""
    loss_network = load_loss_network(recipe.loss_network)
    targets = [
        load_painting(paintings / style.painting, size)
        for style, size in zip(recipe.styles, recipe.painting_sizes, strict=True)
    ]
    loss = PerceptualLoss(loss_network, targets, recipe.content_layers, recipe.style_layers)
    return loss.to(device).to(memory_format=torch.channels_last)
