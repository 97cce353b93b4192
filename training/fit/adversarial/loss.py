"""Adversarial losses by the names that recipes use."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

from training.fit.adversarial import cross_entropy, hinge, wasserstein

LossName = Literal["cross_entropy", "wasserstein", "hinge"]


class AdversarialLoss(NamedTuple):
    """The two sides of a game, each minimised by its own network.

    discriminator: scalar of real and fake scores, each of any shape. generator: scalar of fake
    scores. won: a discriminator's loss below which it has won outright. gradient_penalty: the
    default weight of wasserstein.gradient_penalty. spectral_norm: whether the discriminator has it
    by default.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    won: float
    gradient_penalty: float
    spectral_norm: bool


LOSSES: dict[LossName, AdversarialLoss] = {
    "cross_entropy": AdversarialLoss(
        cross_entropy.discriminator_loss,
        cross_entropy.generator_loss,
        won=0.01,
        gradient_penalty=0.0,
        spectral_norm=True,
    ),
    # A 1-Lipschitz score differs by at most the distance of two pictures, at most some hundreds.
    "wasserstein": AdversarialLoss(
        wasserstein.discriminator_loss,
        wasserstein.generator_loss,
        won=-1000.0,
        gradient_penalty=10.0,
        spectral_norm=False,
    ),
    "hinge": AdversarialLoss(
        hinge.discriminator_loss,
        hinge.generator_loss,
        won=0.01,
        gradient_penalty=0.0,
        spectral_norm=True,
    ),
}
