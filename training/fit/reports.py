"""Reports of a running fit: progress bar, TensorBoard scalars, messages about skipped photos."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.fit.loop import StepRecord
from training.fit.validation import ValidationLoss

BOARD_LOSSES = (
    "content", "style", "variation", "objective", "checkerboard", "blocking", "pattern", "peaks",
    "color", "adversarial", "discriminator",
)  # fmt: skip


class Reports:
    """Shows a fit on the terminal and logs it to TensorBoard.

    A context manager: leaving it closes the log and prints how many photos were skipped.
    """

    def __init__(
        self, folder: Path, step: int, steps: int, log_every: int, *, is_main: bool
    ) -> None:
        """step, steps: completed, and of the whole fit. Only the main process shows and logs."""
        self.log_every = log_every
        self._skipped: set[str] = set()
        self._board = SummaryWriter(str(folder), purge_step=step) if is_main else None
        self._bar = tqdm(
            total=steps, initial=step, unit="step", disable=not is_main, smoothing=0.05
        )

    def __enter__(self) -> "Reports":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.close()
        if self._skipped:
            self.print(f"{len(self._skipped)} photos could not be read and were skipped")

    def print(self, message: str) -> None:
        """Print a line above the progress bar."""
        tqdm.write(message)

    def add(self, record: StepRecord) -> None:
        """Report one step."""
        for message in set(record.unreadable) - self._skipped:
            self._skipped.add(message)
            self.print(f"skipped: {message}")
        losses = record.losses
        scalars = {f"loss/{name}": getattr(losses, name) for name in BOARD_LOSSES}
        rates = {"gradient_norm": record.gradient_norm, "learning_rate": record.learning_rate}
        if record.validation is not None:
            self._add_validation(record.step, record.validation)
        self.advance(
            record.step,
            scalars | rates,
            f"content {losses.content:.3f} style {losses.style:.4f} "
            f"{record.images_per_second:.1f} images/s",
        )

    def advance(self, step: int, scalars: Mapping[str, float], summary: str) -> None:
        """Move the bar on by a step; every `log_every` steps, log scalars and show the summary."""
        if self._board is not None and step % self.log_every == 0:
            for name, value in scalars.items():
                self._board.add_scalar(name, value, step)
            self._bar.set_postfix_str(summary)
        self._bar.update()

    def _add_validation(self, step: int, loss: ValidationLoss) -> None:
        for name, value in vars(loss).items():
            if self._board is not None:
                self._board.add_scalar(f"validation/{name}", value, step)
        self.print(
            f"step {step}: held-out content {loss.content:.3f} style {loss.style:.4f} "
            f"objective {loss.objective:.3f}"
        )
