"""How far the slow method gets with every evaluation, kept in a file between runs."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from training.fit.data import DataError
from training.fit.losses import PerceptualLoss
from training.scoring.gatys import Curve


class Curves:
    """The lowest objective after every function evaluation, by what the search depends on."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file if there is one; without a path nothing is kept. Raises DataError."""
        self.path = path
        self.lowest: dict[str, list[float]] = {}
        if path is None or not path.exists():
            return
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.lowest = {str(key): [float(v) for v in curve] for key, curve in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} does not hold curves ({error}); name another file, or remove it"
            ) from error

    def evaluations_to(
        self, target: float, key: str, most: int, search: Callable[[Curve], object]
    ) -> int | None:
        """How many evaluations the method needs to get to target or below; None if over `most`.

        Where the kept curve does not tell, `search` is to fill a new one until target is reached
        or `most` evaluations are used up. It is kept even if the search is broken off.
        """
        found = self._find(target, key, most)
        if found is None and len(self.lowest.get(key, ())) < most:
            curve = Curve()
            try:
                search(curve)
            finally:
                self._keep(key, curve.objective)
            found = self._find(target, key, most)
        return found

    def _find(self, target: float, key: str, most: int) -> int | None:
        numbered = enumerate(self.lowest.get(key, ())[:most], 1)
        return next((number for number, lowest in numbered if lowest <= target), None)

    def _keep(self, key: str, objective: Sequence[float]) -> None:
        if len(objective) <= len(self.lowest.get(key, ())):
            return
        self.lowest[key] = list(accumulate(objective, min))
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(self.lowest) + "\n", encoding="utf-8")
            os.replace(partial, self.path)


def network_digest(loss: PerceptualLoss) -> str:
    """What tells one loss network, with its layers and their weights, from another."""
    digest = hashlib.sha256(repr((loss.content.weights, loss.style.weights)).encode())
    for name, tensor in sorted(loss.network.named_buffers()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def curve_key(photo: Path, side: int, painting: Path, *rest: object) -> str:
    """A key that names the files and digests all that the search depends on.

    rest: the painting's size, the weights of the objective, the loss network's digest.
    """
    digest = hashlib.sha256(repr((side, rest)).encode())
    for path in (photo, painting):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{painting.stem}/{photo.name}/{side}/{digest.hexdigest()[:16]}"
