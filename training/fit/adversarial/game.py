"""One step of the game between a transform network and its adversary."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from training.fit.adversarial.adversary import Adversary
from training.fit.adversarial.crops import PaintingCrops
from training.fit.device import autocast, average_gradients
from training.fit.losses import total_variation


class Play(NamedTuple):
    """What a step of the game gives.

    generator: the loss of each pastiche, [N], with a gradient. discriminator, gradient_norm: of the
    adversary, whose gradients are computed. variation: of the pastiches relative to the crops.
    """

    generator: Tensor
    discriminator: float
    gradient_norm: float
    variation: float


class Game:
    """Shows an adversary crops of the paintings and pastiches."""

    def __init__(
        self, adversary: Adversary, paintings: Sequence[Tensor], seed: int, rank: int = 0
    ) -> None:
        """paintings: as PaintingCrops takes them."""
        self.adversary, self.crops = adversary, PaintingCrops(paintings, seed, rank)

    def play(self, pastiche: Tensor, style_index: Tensor, step: int) -> Play:
        """Add the adversary's gradients, and return the pastiches' losses.

        pastiche: [N, 3, H, W] in [0, 1]. style_index: int64 [N]. step: completed steps, which
        determine the crops.
        """
        device, adversary = pastiche.device, self.adversary
        crops, shares = self.crops.draw(step, style_index.tolist(), pastiche.shape[-1])
        crops = crops.to(device, non_blocking=True)
        with autocast(device):
            loss, penalty = adversary.discriminator_loss(
                crops, pastiche, style_index, shares.to(device)
            )
        (loss + adversary.penalty * penalty).backward()  # type: ignore[no-untyped-call]
        average_gradients(adversary.parameters())
        gradients = [p.grad for p in adversary.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        with autocast(device):
            generator = adversary.generator_loss(pastiche, style_index)
        variation = total_variation(pastiche.detach()).mean() / total_variation(crops).mean()
        return Play(generator, float(loss.detach()), float(norm), float(variation))
