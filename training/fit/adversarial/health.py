"""Notice an adversarial fit that has failed: NaN, a discriminator that wins, a dead generator."""

import math
from collections.abc import Iterable

from training.fit.errors import TrainingError

STEPS = 100  # this many failing steps in a row are a failure
LIFELESS = 0.05  # a generator with less than this share of the real variation is dead


class AdversarialError(TrainingError):
    """An adversarial fit has failed; the message says how and what to change."""


class HealthMonitor:
    """Watches the numbers of every step.

    A fit recovers from a few bad steps. It does not recover once the discriminator's loss no longer
    has a gradient, or once the generator makes the same flat picture of every noise.
    """

    def __init__(self, won: float, steps: int = STEPS) -> None:
        """won: a discriminator's loss below it has won; see AdversarialLoss. steps: in a row."""
        self.won, self.steps = won, steps
        self._won = self._dead = 0

    @property
    def is_healthy(self) -> bool:
        """Whether the last step was a good one, so that a checkpoint is worth keeping."""
        return self._won == self._dead == 0

    def check(self, numbers: Iterable[float], discriminator_loss: float, variation: float) -> None:
        """Raise AdversarialError if the fit has failed. Call it before the optimizers step.

        numbers: losses and gradient norms, which must be finite. variation: how much generated
        pictures vary, relative to real ones.
        """
        if not all(math.isfinite(number) for number in (*numbers, discriminator_loss, variation)):
            raise AdversarialError(
                "a loss or its gradient is NaN: lower the learning rates in the recipe"
            )
        self._won = self._won + 1 if discriminator_loss < self.won else 0
        self._dead = self._dead + 1 if variation < LIFELESS else 0
        if self._won >= self.steps:
            raise AdversarialError(
                f"the discriminator has won outright for {self.steps} steps, and the generator "
                "learns nothing more from it: lower discriminator_learning_rate, or choose "
                "another adversarial_loss"
            )
        if self._dead >= self.steps:
            raise AdversarialError(
                f"the generator has made nearly the same flat picture for {self.steps} steps: "
                "lower the learning rates in the recipe, or raise gram_weight"
            )
