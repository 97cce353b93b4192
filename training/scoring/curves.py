"""Convergence curves of Gatys' method, cached in a file."""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from app.model_folder import write_atomically
from training.fit.data import DataError
from training.fit.losses import PerceptualLoss
from training.scoring.gatys import Curve


class Curves:
    """A cache of the lowest objective after every function evaluation of a search."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file if it exists; without a path, cache in memory only. Raises DataError."""
        self.path = path
        self.lowest: dict[str, list[float]] = {}
        if path is None or not path.exists():
            return
        try:
            curves = json.loads(path.read_text(encoding="utf-8"))
            self.lowest = {str(key): [float(v) for v in curve] for key, curve in curves.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} does not contain curves ({error}); choose another file, or remove it"
            ) from error

    def evaluations_to(
        self, target: float, key: str, most: int, search: Callable[[Curve], object]
    ) -> int | None:
        """Return how many evaluations a search needs to reach `target`; None if more than `most`.

        If the cached curve is too short to tell, this calls `search`, which must fill a new one
        until it reaches `target` or has used `most` evaluations. The curve is cached even if the
        search raises.
        """
        found = self._find(target, key, most)
        if found is None and len(self.lowest.get(key, ())) < most:
            curve = Curve()
            try:
                search(curve)
            finally:
                self._store(key, curve.objective)
            found = self._find(target, key, most)
        return found

    def _find(self, target: float, key: str, most: int) -> int | None:
        numbered = enumerate(self.lowest.get(key, ())[:most], 1)
        return next((number for number, lowest in numbered if lowest <= target), None)

    def _store(self, key: str, objective: Sequence[float]) -> None:
        if len(objective) <= len(self.lowest.get(key, ())):
            return
        self.lowest[key] = list(accumulate(objective, min))
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, (json.dumps(self.lowest) + "\n").encode())


def network_digest(loss: PerceptualLoss) -> str:
    """Return a hash of a loss network's weights, its layers and the weights of the layers."""
    digest = hashlib.sha256(repr((loss.content.weights, loss.style.weights)).encode())
    for name, tensor in sorted(loss.network.named_buffers()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def curve_key(photo: Path, side: int, painting: Path, *rest: object) -> str:
    """Return the cache key of a search: its files and a hash of everything it depends on.

    rest: the painting's size, the weights of the objective, the loss network's digest.
    """
    digest = hashlib.sha256(repr((side, rest)).encode())
    for path in (photo, painting):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{painting.stem}/{photo.name}/{side}/{digest.hexdigest()[:16]}"
