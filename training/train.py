"""Fit a transform network and its style vectors to paintings.

    python -m training.train RECIPE --photos DIR --paintings DIR --out runs/NAME
    torchrun --nproc-per-node 4 -m training.train ...        (several GPUs)

Running the same command again resumes from the checkpoint in the run's folder.
"""

import argparse
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from app.errors import DeviceUnavailable
from training.fit.checkpoint import CHECKPOINT, Run, device_name, start
from training.fit.data import Batch, Batches, DataError, find_photos
from training.fit.features import LossNetworkError
from training.fit.losses import PerceptualLoss, checkerboard, total_variation
from training.fit.objective import perceptual_loss
from training.fit.precision import autocast
from training.fit.previews import preview_sheet, sheet_crops
from training.fit.recipe import RecipeError, read_recipe

FLAT_SHARE = 0.05  # a pastiche with less than this share of its photo's variation is flat
FLAT_STEPS = 25  # so many flat batches in a row are a collapse, not chance


class CollapseError(Exception):
    """The network paints flat pictures or has lost itself in NaN."""


class Flatness:
    """Watches for the collapse to flat pictures that too high a learning rate brings."""

    def __init__(self) -> None:
        self.streak = 0

    def watch(self, photos: Tensor, pastiche: Tensor, loss: float, norm: float) -> None:
        """Raise CollapseError after a streak of flat batches, or at once if the loss is NaN.

        norm: of the gradient, which can be lost a step earlier.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise CollapseError(
                "the loss or its gradient is NaN: lower learning_rate or clip_norm in the recipe"
            )
        share = (total_variation(pastiche) / total_variation(photos).clamp_min(1e-6)).median()
        self.streak = self.streak + 1 if share < FLAT_SHARE else 0
        if self.streak >= FLAT_STEPS:
            raise CollapseError(
                f"the network has painted flat pictures for {FLAT_STEPS} steps: "
                "lower learning_rate or clip_norm in the recipe, or lengthen warmup"
            )


def fit(
    run: Run,
    loss: PerceptualLoss,
    photos: list[Path],
    folder: Path,
    sheet_photos: list[Tensor],
    *,
    workers: int = 2,
    compiled: bool = False,
    log_every: int = 10,
    sheet_every: int = 250,
) -> None:
    """Run the remaining steps, with checkpoints, TensorBoard scalars and preview sheets in folder.

    Ctrl-C saves a checkpoint first. Raises CollapseError, DataError.
    """
    recipe, device = run.recipe, next(run.gallery.parameters()).device
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    chief = rank == 0
    gallery: nn.Module = run.gallery
    if ranks > 1:
        gallery = DistributedDataParallel(gallery)
    paint: Callable[..., Any] = gallery
    judge: Callable[..., Any] = loss
    if compiled:
        # One program for each crop: PyTorch cannot compile the padding for sides left open.
        paint, judge = [torch.compile(m, dynamic=False) for m in (gallery, loss)]
    batches = DataLoader(
        Batches(photos, recipe, rank),
        batch_size=None,
        sampler=range(run.step, recipe.steps),
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    flatness, unreadable = Flatness(), set[str]()
    board = SummaryWriter(str(folder), purge_step=run.step) if chief else None
    bar = tqdm(total=recipe.steps, initial=run.step, unit="step", disable=not chief, smoothing=0.05)
    style_weights = torch.tensor(recipe.style_weights, device=device)
    try:
        for batch in batches:
            began = time.perf_counter()
            photo, style_index = _to_device(batch, device)
            with autocast(device):
                pastiche, peaks = paint(photo, style_index)
                terms = judge(pastiche, photo, style_index)
            weights = (recipe.content_weight, style_weights[style_index], recipe.variation_weight)
            objective = sum(w * term for w, term in zip(weights, terms, strict=True))
            # The logarithm: a picture counts by the share that it can still gain, so that flat
            # photos, whose relative content error is large whatever is painted, do not rule.
            total = objective.clamp_min(1e-6).log().mean() + recipe.peak_weight * peaks.mean()
            grid = checkerboard(pastiche).mean()
            total = total + recipe.checkerboard_weight * grid
            for optimizer in run.optimizers:
                optimizer.zero_grad()
            total.backward()
            terms = [term.detach().mean() for term in terms]
            norm = nn.utils.clip_grad_norm_(run.gallery.parameters(), recipe.clip_norm)
            # Before the step, so that no checkpoint holds NaN; and as this waits for the GPU, it
            # is where Ctrl-C strikes: weights and step number must still agree.
            flatness.watch(photo, pastiche.detach(), float(total.detach()), float(norm))
            for optimizer, schedule in zip(run.optimizers, run.schedules, strict=True):
                optimizer.step()
                schedule.step()
            run.step += 1
            elapsed = time.perf_counter() - began
            run.seconds += elapsed
            _tell_unreadable(batch, unreadable)
            if board is not None and run.step % log_every == 0:
                names = ("content", "style", "variation")
                for name, term in zip(names, terms, strict=True):
                    board.add_scalar(f"loss/{name}", term, run.step)
                board.add_scalar("loss/objective", objective.detach().mean(), run.step)
                board.add_scalar("loss/checkerboard", grid.detach(), run.step)
                board.add_scalar("loss/peaks", peaks.detach().mean(), run.step)
                board.add_scalar("gradient_norm", norm, run.step)
                board.add_scalar("learning_rate", run.schedules[0].get_last_lr()[0], run.step)
                bar.set_postfix_str(
                    f"content {terms[0].item():.3f} style {terms[1].item():.4f} "
                    f"{len(batch.photos) * ranks / elapsed:.1f} images/s"
                )
            bar.update()
            if chief and (run.step % sheet_every == 0 or run.step == recipe.steps):
                run.save(folder)
                preview_sheet(run.gallery, sheet_photos).save(folder / f"sheet-{run.step:06}.jpg")
    except KeyboardInterrupt:
        if chief:
            run.save(folder)
            tqdm.write(f"stopped; {folder / CHECKPOINT} holds step {run.step}, run again to resume")
        raise
    finally:
        bar.close()
        if board is not None:
            board.close()
        if unreadable:
            tqdm.write(f"{len(unreadable)} photos could not be read and were skipped")


def _to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    photo = batch.photos.to(device, non_blocking=True).float() / 255
    return (
        photo.contiguous(memory_format=torch.channels_last),
        batch.style_index.to(device, non_blocking=True),
    )


def _tell_unreadable(batch: Batch, seen: set[str]) -> None:
    for message in set(batch.unreadable) - seen:
        seen.add(message)
        tqdm.write(f"skipped: {message}")


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; in a torchrun process, its own GPU.

    Raises DeviceUnavailable.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise DeviceUnavailable("PyTorch finds no CUDA device; name --device cpu")
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(name)
    return torch.device(name)


@contextlib.contextmanager
def process_group(device: torch.device) -> Any:
    """Join the other processes if torchrun started this one."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the fit is whole, 1 on a clear error, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recipe", type=Path, help="a TOML file; see training/recipes")
    parser.add_argument("--photos", type=Path, required=True, help="folder to fit on, any depth")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of the paintings")
    parser.add_argument("--out", type=Path, help="the run's folder (runs/NAME)")
    parser.add_argument("--start-from", type=Path, help="checkpoint or model folder")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: slow to start, then faster"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that read photos")
    parser.add_argument("--sheet-every", type=int, default=250, help="steps between checkpoints")
    options = parser.parse_args(arguments)
    # A fit in the background, where shells ignore SIGINT, is stopped like one in front.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        recipe = read_recipe(options.recipe, options.overrides)
        folder: Path = options.out or Path("runs") / recipe.name
        folder.mkdir(parents=True, exist_ok=True)
        device = pick_device(options.device)
        photos = find_photos(options.photos)
        loss = perceptual_loss(recipe, options.paintings, device)
        run = start(recipe, device)
        if (folder / CHECKPOINT).exists():
            run.resume(folder / CHECKPOINT)
        elif options.start_from:
            run.start_from(options.start_from)
        with process_group(device):
            fit(
                run,
                loss,
                photos,
                folder,
                sheet_crops(photos),
                workers=options.workers,
                compiled=options.compile,
                sheet_every=options.sheet_every,
            )
    except (RecipeError, DataError, LossNetworkError, CollapseError, DeviceUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        f"{folder / CHECKPOINT}: {run.step} steps in {run.seconds:.0f} s on {device_name(device)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
