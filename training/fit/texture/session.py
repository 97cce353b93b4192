"""A texture fit from the command's arguments to its last checkpoint."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from training.fit.checkpoint import CHECKPOINT
from training.fit.device import pick_device, process_group, rank_and_world_size
from training.fit.features import load_loss_network
from training.fit.reports import Reports
from training.fit.texture.checkpoint import TextureState, initial_texture_state
from training.fit.texture.data import load_paintings
from training.fit.texture.gram import GramLoss
from training.fit.texture.loop import TextureRecord, texture_steps
from training.fit.texture.previews import texture_sheet
from training.fit.texture.recipe import read_texture_recipe


@dataclass(frozen=True)
class TextureFitRequest:
    """The arguments of `training.train_texture`. See its help."""

    recipe: Path
    paintings: Path
    overrides: list[str] = field(default_factory=list)
    out: Path | None = None
    device: str = "auto"
    sheet_every: int = 250
    log_every: int = 10


def train_texture(request: TextureFitRequest) -> tuple[Path, TextureState]:
    """Run a fit, or resume it; return its checkpoint file and its final state.

    Raises TrainingError, DeviceUnavailable.
    """
    recipe = read_texture_recipe(request.recipe, request.overrides)
    folder = request.out or Path("runs") / recipe.name
    device = pick_device(request.device)
    paintings = load_paintings(recipe, request.paintings)
    gram = None
    if recipe.gram_weight:
        gram = GramLoss(load_loss_network(recipe.loss_network), paintings, recipe).to(device)
    state = initial_texture_state(recipe, device)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).exists():
        state.resume(folder / CHECKPOINT)
    with process_group(device):
        fit_texture(state, paintings, gram, folder, request)
    return folder / CHECKPOINT, state


def fit_texture(
    state: TextureState,
    paintings: list[Tensor],
    gram: GramLoss | None,
    folder: Path,
    request: TextureFitRequest,
) -> None:
    """Run the remaining steps; write checkpoints, TensorBoard scalars and previews to `folder`.

    Ctrl-C saves a checkpoint before it raises KeyboardInterrupt. A checkpoint of a fit that is
    about to fail is not written, so that the last good one stays. Raises AdversarialError.
    """
    recipe, is_main = state.recipe, rank_and_world_size()[0] == 0
    steps = recipe.steps
    with Reports(folder, state.step, steps, request.log_every, is_main=is_main) as reports:
        try:
            for record in texture_steps(state, paintings, gram):
                reports.advance(record.step, _scalars(record), _summary(record))
                due = record.step % request.sheet_every == 0 or record.step == steps
                if is_main and due and record.is_healthy:
                    state.save(folder)
                    sheet = texture_sheet(state.average.model, recipe, record.reduction)
                    sheet.save(folder / f"sheet-{record.step:06}.jpg", quality=90)
        except KeyboardInterrupt:
            if is_main:
                state.save(folder)
                reports.print(
                    f"stopped; {folder / CHECKPOINT} holds step {state.step}, run again to resume"
                )
            raise


def _scalars(record: TextureRecord) -> dict[str, float]:
    losses = {f"loss/{n}": v for n, v in vars(record.losses).items() if n not in ("real", "fake")}
    scores = {f"score/{name}": getattr(record.losses, name) for name in ("real", "fake")}
    names = ("gradient_norm", "variation", "size", "images_per_second")
    return losses | scores | {name: getattr(record, name) for name in names}


def _summary(record: TextureRecord) -> str:
    losses = record.losses
    return (
        f"{record.size} px discriminator {losses.discriminator:.3f} "
        f"generator {losses.generator:.3f} gram {losses.gram:.4f} "
        f"{record.images_per_second:.1f} images/s"
    )
