"""The comparison of a picture with the reference that was exported with the model."""

from pathlib import Path

import numpy as np

from ..errors import ModelFolderError
from ..pixels.images import Pixels

# Tolerances in grey levels; bfloat16 stays well within them.
MAX_MEAN_DIFFERENCE = 2.0
MAX_DIFFERENCE = 12  # of all values but a few
MIN_SHARE_WITHIN = 0.99  # share of the values that must be within MAX_DIFFERENCE


def compare(folder: Path, use: str, painted: Pixels, expected: Pixels) -> None:
    """Compare pictures uint8 of one shape. Raises ModelFolderError, which states the difference.

    folder, use: the model folder and the graphs that painted, for the message.
    """
    difference = np.abs(painted.astype(np.int16) - expected)
    mean, share = float(difference.mean()), float((difference <= MAX_DIFFERENCE).mean())
    if mean > MAX_MEAN_DIFFERENCE or share < MIN_SHARE_WITHIN:
        raise ModelFolderError(
            f"{folder}: {use} does not paint the reference: {mean:.2f} grey levels off on average "
            f"(at most {MAX_MEAN_DIFFERENCE:g}), {share:.1%} of values within {MAX_DIFFERENCE} "
            f"(at least {MIN_SHARE_WITHIN:.0%})"
        )
