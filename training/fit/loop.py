"""The training loop. It yields a record of every step; progress reports consume the records."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from training.fit.adversarial.game import Game
from training.fit.adversarial.health import HealthMonitor
from training.fit.checkpoint import TrainState
from training.fit.collapse import CollapseDetector
from training.fit.data import Batch, Batches
from training.fit.device import autocast, rank_and_world_size
from training.fit.losses import (
    PerceptualLoss,
    blocking_loss,
    checkerboard_loss,
    color_loss,
    pattern_loss,
)
from training.fit.objective import Penalties, Weights, objective, training_loss
from training.fit.validation import ValidationLoss, ValidationSet


@dataclass(frozen=True)
class Losses:
    """Means over a batch. `total` is what training minimises; the others are before weighting.

    adversarial, discriminator: the losses of the network and of its adversary; 0 without one.
    """

    content: float
    style: float
    variation: float
    objective: float
    peaks: float
    checkerboard: float
    blocking: float
    pattern: float
    color: float
    adversarial: float
    total: float
    discriminator: float = 0.0


@dataclass(frozen=True)
class StepRecord:
    """One completed step.

    step: the number of completed steps. images: in this step, over all processes. gradient_norm:
    before clipping. learning_rate: of the network, for the next step. unreadable: messages about
    photos that were skipped. validation: on held-out photos, after the steps that have one.
    is_healthy: see HealthMonitor; without an adversary, always.
    """

    step: int
    losses: Losses
    gradient_norm: float
    learning_rate: float
    images: int
    seconds: float
    unreadable: list[str]
    validation: ValidationLoss | None = None
    is_healthy: bool = True

    @property
    def images_per_second(self) -> float:
        """The speed of this step."""
        return self.images / self.seconds


def training_steps(
    state: TrainState,
    loss: PerceptualLoss,
    photos: list[Path],
    *,
    workers: int = 2,
    compiled: bool = False,
    held_out: ValidationSet | None = None,
    validate_every: int = 250,
    paintings: Sequence[Tensor] = (),
) -> Iterator[StepRecord]:
    """Run the remaining steps and yield a record after each; `state` is consistent at that time.

    workers: processes that read photos. compiled: use torch.compile. validate_every: steps between
    validations on `held_out`, by the main process. paintings: [1, 3, H, W] of each style, which an
    adversary needs. Raises CollapseError or AdversarialError before the step that would put NaN
    into `state`, DataError.
    """
    recipe, device = state.recipe, state.device
    rank, world_size = rank_and_world_size()
    paint, measure = _modules(state, loss, compiled, distributed=world_size > 1)
    batches = DataLoader(
        Batches(photos, recipe, rank),
        batch_size=None,
        sampler=range(state.step, recipe.steps),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    watch = _Watch(CollapseDetector(), HealthMonitor(recipe.adversary.won))
    game = None
    if state.adversary is not None:
        game = Game(state.adversary, paintings, recipe.seed, rank)
    for batch in batches:
        began = time.perf_counter()
        losses, norm = _compute_gradients(state, batch, paint, measure, game, watch)
        for optimizer, schedule in zip(state.optimizers, state.schedules, strict=True):
            optimizer.step()
            schedule.step()
        if state.adversary is not None:
            state.adversary.update_spectral_norms()
        state.step += 1
        seconds = time.perf_counter() - began
        state.seconds += seconds
        due = state.step % validate_every == 0 or state.step == recipe.steps
        validation = None
        if held_out is not None and rank == 0 and due:
            validation = held_out.measure(state.model, loss, recipe)
        yield StepRecord(
            step=state.step,
            losses=losses,
            gradient_norm=norm,
            learning_rate=float(state.schedules[0].get_last_lr()[0]),
            images=len(batch.photos) * world_size,
            seconds=seconds,
            unreadable=batch.unreadable,
            validation=validation,
            is_healthy=watch.monitor.is_healthy,
        )


class _Watch(NamedTuple):
    """What stops a fit that has failed."""

    detector: CollapseDetector
    monitor: HealthMonitor


def _compute_gradients(
    state: TrainState,
    batch: Batch,
    paint: Callable[..., Any],
    measure: Callable[..., Any],
    game: Game | None,
    watch: _Watch,
) -> tuple[Losses, float]:
    """Compute all gradients of a step; return the losses and the gradient's norm.

    Raises CollapseError, AdversarialError: before the optimizers, so that no checkpoint contains
    NaN. This also waits for the GPU, so Ctrl-C almost always arrives here, while weights and step
    number still agree.
    """
    torch.manual_seed(state.recipe.seed + state.step)  # a resumed fit sees the same noise
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    photo, style_index, boldness = _to_device(batch, state.device)
    with autocast(state.device):
        pastiche, peaks = paint(photo, style_index, boldness)
        terms = measure(pastiche, photo, style_index)
    play = game.play(pastiche, style_index, state.step) if game is not None else None
    stride = state.model.network.stride
    penalties = Penalties(
        peaks,
        checkerboard_loss(pastiche, stride),
        blocking_loss(pastiche, stride),
        pattern_loss(pastiche),
        color_loss(pastiche, photo),
        torch.zeros_like(peaks) if play is None else play.generator,
    )
    losses, norm = _backward(state, terms, penalties, style_index, boldness)
    watch.detector.check(photo, pastiche.detach(), losses.total, norm)
    if play is None:
        return losses, norm
    watch.monitor.check([norm, play.gradient_norm], play.discriminator, play.variation)
    return replace(losses, discriminator=play.discriminator), norm


def _backward(
    state: TrainState,
    terms: tuple[Tensor, Tensor, Tensor],
    penalties: Penalties,
    style_index: Tensor,
    boldness: Tensor,
) -> tuple[Losses, float]:
    """Compute the gradients, clipped; return the losses and the norm before clipping."""
    recipe, ratio = state.recipe, state.recipe.bold_ratio**boldness
    style_weights = torch.tensor(recipe.style_weights, device=state.device)
    weights = Weights(
        recipe.content_weight, style_weights[style_index] * ratio, recipe.variation_weight
    )
    objectives = objective(weights, *terms)
    weighted = penalties._replace(adversarial=ratio * penalties.adversarial)
    total = training_loss(recipe, objectives, weighted)
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    values = [*terms, objectives, *penalties, total]
    means = torch.stack([value.detach().float().mean() for value in values]).tolist()
    return Losses(*means), float(norm)


def _modules(
    state: TrainState, loss: PerceptualLoss, compiled: bool, *, distributed: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    model: nn.Module = DistributedDataParallel(state.model) if distributed else state.model
    if not compiled:
        return model, loss
    # Not dynamic: PyTorch cannot compile reflection padding for unknown sides.
    return torch.compile(model, dynamic=False), torch.compile(loss, dynamic=False)


def _to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    photo = batch.photos.to(device, non_blocking=True).float() / 255
    return (
        photo.contiguous(memory_format=torch.channels_last),
        batch.style_index.to(device, non_blocking=True),
        batch.boldness.to(device, non_blocking=True),
    )
