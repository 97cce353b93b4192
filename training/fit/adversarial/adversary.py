"""The adversary of a transform network: discriminators at several scales, and their loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.fit.adversarial.wasserstein import gradient_penalty
from training.fit.networks.discriminator import Discriminator
from training.fit.recipe import Recipe


class Adversary(nn.Module):
    """Patch discriminators that tell crops of the paintings from pastiches.

    Each sees pictures of half the size of the one before, so that it judges larger patches.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.loss = recipe.adversary
        penalty, spectral = recipe.gradient_penalty, recipe.spectral_norm
        self.penalty = self.loss.gradient_penalty if penalty is None else penalty
        self.discriminators = nn.ModuleList(
            Discriminator(
                len(recipe.styles),
                recipe.discriminator_widths,
                spectral=self.loss.spectral_norm if spectral is None else spectral,
            )
            for _ in range(recipe.discriminator_scales)
        )
        self.eval()

    def forward(self, image: Tensor, style_index: Tensor) -> list[Tensor]:
        """Return the scores [N, h, w] at each scale of image [N, 3, H, W] in [0, 1]."""
        scores = []
        for discriminator in self.discriminators:
            scores.append(discriminator(image, style_index).float())
            image = F.avg_pool2d(image, 2)
        return scores

    def update_spectral_norms(self) -> None:
        """See Discriminator.update_spectral_norms."""
        for discriminator in self.discriminators:
            assert isinstance(discriminator, Discriminator)
            discriminator.update_spectral_norms()

    def discriminator_loss(
        self, real: Tensor, fake: Tensor, style_index: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the discriminators' loss, the mean over the scales, and the gradient penalty.

        real: crops [N, 3, h, w]. fake: pastiches [N, 3, H, W]; they get no gradient. shares: [N],
        uniform in [0, 1]. The sum of the first and of `penalty` times the second is minimised.
        """
        pairs = zip(self(real, style_index), self(fake.detach(), style_index), strict=True)
        loss = torch.stack([self.loss.discriminator(*scores) for scores in pairs]).mean()
        if not self.penalty:
            return loss, loss.new_zeros(())
        side = min(real.shape[-1], fake.shape[-1])
        pictures = (real[..., :side, :side], fake[..., :side, :side])
        return loss, gradient_penalty(
            lambda image: self._mean_scores(image, style_index), *pictures, shares
        )

    def generator_loss(self, fake: Tensor, style_index: Tensor) -> Tensor:
        """Return what the transform network minimises, per sample, [N], the mean over the scales.

        fake: pastiches [N, 3, H, W]. The discriminators get no gradient.
        """
        self.requires_grad_(False)
        scales = self(fake, style_index)
        self.requires_grad_(True)
        losses = [torch.stack([self.loss.generator(one) for one in scores]) for scores in scales]
        return torch.stack(losses).mean(0)

    def _mean_scores(self, image: Tensor, style_index: Tensor) -> Tensor:
        return torch.stack([s.flatten(1).mean(1) for s in self(image, style_index)]).mean(0)
