"""Wasserstein loss (Arjovsky et al., arXiv:1701.07875) and its gradient penalty.

The loss is a distance only as long as the discriminator is 1-Lipschitz. The penalty of Gulrajani
et al. (arXiv:1704.00028) keeps it so.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Mean score of generated pictures minus that of real ones."""
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """Mean score of generated pictures, negated."""
    return -fake_scores.mean()


def gradient_penalty(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, shares: Tensor
) -> Tensor:
    """Mean squared distance from 1 of the norm of the score's gradient, between real and fake.

    score: of pictures [N, C, H, W], of any shape [N, ...]; the mean over a picture counts. real,
    fake: [N, C, H, W]. shares: [N], uniform in [0, 1]: how much of the fake is mixed into the real.
    """
    mixed = torch.lerp(real.detach(), fake.detach(), shares[:, None, None, None])
    mixed.requires_grad_()
    total = score(mixed).reshape(len(mixed), -1).mean(1).sum()
    (gradient,) = torch.autograd.grad(total, mixed, create_graph=True)
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()
