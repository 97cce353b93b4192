"""Hinge loss (Lim and Ye, arXiv:1705.02894; Miyato et al., arXiv:1802.05957)."""

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Mean shortfall of real scores from 1, plus mean excess of fake scores over -1."""
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Mean score of generated pictures, negated."""
    return -fake_scores.mean()
