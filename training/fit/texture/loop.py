"""The loop of a texture fit. It yields a record of every step."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.fit.adversarial.health import HealthMonitor
from training.fit.adversarial.wasserstein import gradient_penalty
from training.fit.device import autocast, average_gradients, rank_and_world_size
from training.fit.texture.checkpoint import TextureState
from training.fit.texture.data import TextureBatch, TextureBatches
from training.fit.texture.gram import GramLoss
from training.fit.texture.recipe import TextureRecipe


@dataclass(frozen=True)
class TextureLosses:
    """Losses of one step, before weighting.

    discriminator, generator: adversarial. penalty: of the gradient. gram: 0 without that term.
    real, fake: mean scores.
    """

    discriminator: float
    generator: float
    penalty: float
    gram: float
    real: float
    fake: float


@dataclass(frozen=True)
class TextureRecord:
    """One completed step.

    step: the number of completed steps. gradient_norm: of the generator. variation: how much the
    pictures vary, relative to the paintings. size: of the pictures, pixels. reduction: see growing.
    images: in this step, over all processes. is_healthy: see HealthMonitor.
    """

    step: int
    losses: TextureLosses
    gradient_norm: float
    variation: float
    size: int
    reduction: float
    images: int
    seconds: float
    is_healthy: bool

    @property
    def images_per_second(self) -> float:
        """The speed of this step."""
        return self.images / self.seconds


def texture_steps(
    state: TextureState, paintings: list[Tensor], gram: GramLoss | None = None
) -> Iterator[TextureRecord]:
    """Run the remaining steps and yield a record after each; `state` is consistent at that time.

    paintings: as load_paintings returns them. gram: required if the recipe has a gram_weight.
    Raises AdversarialError before the step that would put NaN into `state`.
    """
    recipe, discriminator = state.recipe, state.discriminator
    rank, world_size = rank_and_world_size()
    batches = TextureBatches(paintings, recipe, state.model.generator, rank)
    monitor = HealthMonitor(recipe.loss.won)
    while state.step < recipe.steps:
        began = time.perf_counter()
        batch = batches[state.step].to(state.device)
        with autocast(state.device):
            pictures = state.model(batch.noise, batch.painting, batch.reduction)
        scores, discriminator_loss, penalty = _backward_discriminator(state, batch, pictures)
        generator_loss, gram_loss = _backward_generator(state, batch, pictures, gram)
        for network in (state.model, discriminator):
            average_gradients(network.parameters())
        norms = [_gradient_norm(network) for network in (state.model, discriminator)]
        stride = state.model.generator.stride >> int(batch.reduction)
        variation = relative_variation(pictures.detach(), batch.patches, stride)
        losses = TextureLosses(discriminator_loss, generator_loss, penalty, gram_loss, *scores)
        # Before the optimizers, so that no checkpoint contains NaN. This also waits for the GPU,
        # so Ctrl-C almost always arrives here, while weights and step number still agree.
        monitor.check([*vars(losses).values(), *norms], discriminator_loss, variation)
        _update(state)
        state.step += 1
        state.average.update(state.model, state.step)
        seconds = time.perf_counter() - began
        state.seconds += seconds
        yield TextureRecord(
            step=state.step,
            losses=losses,
            gradient_norm=norms[0],
            variation=variation,
            size=pictures.shape[2],
            reduction=batch.reduction,
            images=len(pictures) * world_size,
            seconds=seconds,
            is_healthy=monitor.is_healthy,
        )


def relative_variation(pictures: Tensor, patches: Tensor, stride: int) -> float:
    """How much pictures differ between neighbouring cells of noise, relative to real patches.

    pictures, patches: [N, 3, H, W]. stride: pixels of a cell. A generator that ignores its noise
    repeats every cell, so it has no variation, whatever it paints.
    """
    made, real = ((x[..., stride:] - x[..., :-stride]).abs().mean() for x in (pictures, patches))
    return float(made / real.clamp_min(1e-6))


def rate_factor(recipe: TextureRecipe, step: int) -> float:
    """The share of the peak learning rates at a step, counted from 0: 1, then falling to 0."""
    falling = recipe.decay * recipe.steps
    return min(1.0, (recipe.steps - step) / falling) if falling else 1.0


def _backward_discriminator(
    state: TextureState, batch: TextureBatch, pictures: Tensor
) -> tuple[tuple[float, float], float, float]:
    """Compute its gradients; return the mean scores of real and fake, the loss, the penalty."""
    recipe, discriminator = state.recipe, state.discriminator
    discriminator.zero_grad()
    fakes = pictures.detach()
    with autocast(state.device):
        both = torch.cat([batch.patches, fakes])
        scores = discriminator(both, batch.painting.repeat(2), batch.reduction).float()
    real, fake = scores.chunk(2)
    loss = recipe.loss.discriminator(real, fake)
    penalty = loss.new_zeros(())
    if recipe.penalty:
        penalty = gradient_penalty(
            lambda mixed: discriminator(mixed, batch.painting, batch.reduction),
            batch.patches,
            fakes,
            batch.shares,
        )
    (loss + recipe.penalty * penalty).backward()  # type: ignore[no-untyped-call]
    return (real.mean().item(), fake.mean().item()), loss.item(), penalty.item()


def _backward_generator(
    state: TextureState, batch: TextureBatch, pictures: Tensor, gram: GramLoss | None
) -> tuple[float, float]:
    """Compute its gradients; return the adversarial loss and the Gram loss."""
    recipe = state.recipe
    state.model.zero_grad()
    state.discriminator.requires_grad_(False)
    with autocast(state.device):
        scores = state.discriminator(pictures, batch.painting, batch.reduction)
        gram_loss = pictures.new_zeros(()) if gram is None else gram(pictures, batch.painting)
    state.discriminator.requires_grad_(True)
    loss = recipe.loss.generator(scores.float())
    total = recipe.adversarial_weight * loss + recipe.gram_weight * gram_loss
    total.backward()  # type: ignore[no-untyped-call]
    return loss.item(), gram_loss.item()


def _gradient_norm(network: nn.Module) -> float:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def _update(state: TextureState) -> None:
    """Step all optimizers, at the rates of the step."""
    factor, recipe = rate_factor(state.recipe, state.step), state.recipe
    peaks = [
        [recipe.learning_rate],
        [recipe.other_learning_rate, recipe.style_learning_rate],
        [recipe.discriminator_learning_rate],
    ]
    for optimizer, rates in zip(state.optimizers, peaks, strict=True):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = factor * rate
        optimizer.step()
    state.discriminator.update_spectral_norms()
