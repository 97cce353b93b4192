"""Binary cross-entropy of scores as logits (Goodfellow et al., arXiv:1406.2661)."""

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Mean of -log sigmoid(real) plus mean of -log(1 - sigmoid(fake)); 2 log 2 at a draw."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Mean of -log sigmoid(fake), the non-saturating form: losing still gives a gradient."""
    return F.softplus(-fake_scores).mean()
