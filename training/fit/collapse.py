"""Detect a fit that has collapsed: flat pictures, or NaN in the loss or its gradient."""

import math

from torch import Tensor

from training.fit.errors import TrainingError
from training.fit.losses import total_variation

FLAT_SHARE = 0.05  # a pastiche with less than this share of its photo's total variation is flat
FLAT_STEPS = 25  # this many flat batches in a row count as a collapse


class CollapseError(TrainingError):
    """The network paints flat pictures, or the loss or its gradient is NaN."""


class CollapseDetector:
    """Watches for the collapse to flat pictures that too high a learning rate causes."""

    def __init__(self) -> None:
        self.flat_steps = 0

    def check(self, photos: Tensor, pastiche: Tensor, loss: float, gradient_norm: float) -> None:
        """Raise CollapseError after FLAT_STEPS flat batches in a row, or if a number is not finite.

        photos and pastiche: [N, 3, H, W] in [0, 1]. The gradient can become NaN one step before the
        loss does.
        """
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise CollapseError(
                "the loss or its gradient is NaN: lower learning_rate or clip_norm in the recipe"
            )
        share = (total_variation(pastiche) / total_variation(photos).clamp_min(1e-6)).median()
        self.flat_steps = self.flat_steps + 1 if share < FLAT_SHARE else 0
        if self.flat_steps >= FLAT_STEPS:
            raise CollapseError(
                f"the network has painted flat pictures for {FLAT_STEPS} steps: "
                "lower learning_rate or clip_norm in the recipe, or lengthen warmup"
            )
