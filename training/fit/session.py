"""A fit from the command's arguments to its last checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from training.fit.checkpoint import CHECKPOINT, TrainState, initial_state
from training.fit.data import find_photos, load_paintings
from training.fit.device import pick_device, process_group, rank_and_world_size
from training.fit.loop import training_steps
from training.fit.losses import PerceptualLoss
from training.fit.objective import perceptual_loss
from training.fit.previews import preview_sheet, sheet_crops
from training.fit.recipe import read_recipe
from training.fit.reports import Reports
from training.fit.validation import ValidationSet, validation_set


@dataclass(frozen=True)
class FitOptions:
    """How to run a fit; none of this changes its result.

    workers: processes that read photos. compiled: use torch.compile. log_every, sheet_every: steps
    between TensorBoard entries; between checkpoints, preview sheets and validation.
    """

    workers: int = 2
    compiled: bool = False
    log_every: int = 10
    sheet_every: int = 250


@dataclass(frozen=True)
class FitRequest:
    """The arguments of `training.train`. See its help."""

    recipe: Path
    photos: Path
    paintings: Path
    overrides: list[str] = field(default_factory=list)
    out: Path | None = None
    start_from: Path | None = None
    validate: Path | None = None
    device: str = "auto"
    options: FitOptions = field(default_factory=FitOptions)


def train(request: FitRequest) -> tuple[Path, TrainState]:
    """Run a fit, or resume it; return its checkpoint file and its final state.

    Raises TrainingError, DeviceUnavailable.
    """
    recipe = read_recipe(request.recipe, request.overrides)
    folder = request.out or Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    device = pick_device(request.device)
    photos = find_photos(request.photos)
    held_out = None
    if request.validate is not None:
        held_out = validation_set(find_photos(request.validate), recipe, device)
    loss = perceptual_loss(recipe, request.paintings, device)
    paintings = load_paintings(recipe, request.paintings) if recipe.adversarial_weight else []
    state = initial_state(recipe, device)
    if (folder / CHECKPOINT).exists():
        state.resume(folder / CHECKPOINT)
    elif request.start_from is not None:
        state.start_from(request.start_from)
    with process_group(device):
        fit(state, loss, photos, folder, sheet_crops(photos), request.options, held_out, paintings)
    return folder / CHECKPOINT, state


def fit(
    state: TrainState,
    loss: PerceptualLoss,
    photos: list[Path],
    folder: Path,
    sheet_photos: list[Tensor],
    options: FitOptions = FitOptions(),
    held_out: ValidationSet | None = None,
    paintings: Sequence[Tensor] = (),
) -> None:
    """Run the remaining steps; write checkpoints, TensorBoard scalars and previews to `folder`.

    paintings: see training_steps. Ctrl-C saves a checkpoint before it raises KeyboardInterrupt. A
    step at which the adversary is winning replaces no checkpoint. Raises CollapseError,
    AdversarialError, DataError.
    """
    is_main, steps = rank_and_world_size()[0] == 0, state.recipe.steps
    records = training_steps(
        state,
        loss,
        photos,
        workers=options.workers,
        compiled=options.compiled,
        held_out=held_out,
        validate_every=options.sheet_every,
        paintings=paintings,
    )
    with Reports(folder, state.step, steps, options.log_every, is_main=is_main) as reports:
        try:
            for record in records:
                reports.add(record)
                if is_main and (record.step % options.sheet_every == 0 or record.step == steps):
                    if record.is_healthy or record.step == steps:
                        state.save(folder)
                    sheet = preview_sheet(state.model, sheet_photos)
                    sheet.save(folder / f"sheet-{record.step:06}.jpg")
        except KeyboardInterrupt:
            if is_main:
                state.save(folder)
                reports.print(
                    f"stopped; {folder / CHECKPOINT} holds step {state.step}, run again to resume"
                )
            raise
