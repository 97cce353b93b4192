"""The training loop. It yields a record of every step; progress reports consume the records."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from training.fit.checkpoint import TrainState
from training.fit.collapse import CollapseDetector
from training.fit.data import Batch, Batches
from training.fit.device import autocast, rank_and_world_size
from training.fit.losses import PerceptualLoss, checkerboard_loss
from training.fit.objective import Weights, objective, training_loss
from training.fit.validation import ValidationLoss, ValidationSet


@dataclass(frozen=True)
class Losses:
    """Means over a batch. `total` is what training minimises; the others are before weighting."""

    content: float
    style: float
    variation: float
    objective: float
    checkerboard: float
    peaks: float
    total: float


@dataclass(frozen=True)
class StepRecord:
    """One completed step.

    step: the number of completed steps. images: in this step, over all processes. gradient_norm:
    before clipping. learning_rate: of the network, for the next step. unreadable: messages about
    photos that were skipped. validation: on held-out photos, after the steps that have one.
    """

    step: int
    losses: Losses
    gradient_norm: float
    learning_rate: float
    images: int
    seconds: float
    unreadable: list[str]
    validation: ValidationLoss | None = None

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
) -> Iterator[StepRecord]:
    """Run the remaining steps and yield a record after each; `state` is consistent at that time.

    workers: processes that read photos. compiled: use torch.compile. validate_every: steps between
    validations on `held_out`, by the main process. Raises CollapseError before the step that would
    put NaN into `state`, DataError.
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
    detector = CollapseDetector()
    style_weights = torch.tensor(recipe.style_weights, device=device)
    for batch in batches:
        began = time.perf_counter()
        photo, style_index, boldness = _to_device(batch, device)
        with autocast(device):
            pastiche, peaks = paint(photo, style_index, boldness)
            terms = measure(pastiche, photo, style_index)
        style_weight = style_weights[style_index] * recipe.bold_ratio**boldness
        losses, norm = _backward(state, pastiche, terms, peaks, style_weight)
        # Before the optimizers, so that no checkpoint contains NaN. This also waits for the GPU,
        # so Ctrl-C almost always arrives here, while weights and step number still agree.
        detector.check(photo, pastiche.detach(), losses.total, norm)
        for optimizer, schedule in zip(state.optimizers, state.schedules, strict=True):
            optimizer.step()
            schedule.step()
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
        )


def _backward(
    state: TrainState,
    pastiche: Tensor,
    terms: tuple[Tensor, Tensor, Tensor],
    peaks: Tensor,
    style_weight: Tensor,
) -> tuple[Losses, float]:
    """Compute the gradients, clipped; return the losses and the norm before clipping."""
    recipe = state.recipe
    weights = Weights(recipe.content_weight, style_weight, recipe.variation_weight)
    objectives = objective(weights, *terms)
    checkerboard = checkerboard_loss(pastiche, state.model.network.stride)
    total = training_loss(recipe, objectives, peaks, checkerboard)
    for optimizer in state.optimizers:
        optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    values = [*terms, objectives, checkerboard, peaks, total]
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
