from pathlib import Path

import numpy as np
import pytest

from app.engine.reference import MAX_DIFFERENCE, compare
from app.errors import ModelFolderError

EXPECTED = np.full((1, 20, 20, 3), 100, np.uint8)


def test_small_differences_and_a_few_large_ones_are_accepted() -> None:
    painted = EXPECTED + np.uint8(2)
    painted[0, 0, :3] = 102 + MAX_DIFFERENCE
    painted[0, 0, 3] = 98
    compare(Path("a"), "generate", EXPECTED + np.uint8(1), EXPECTED)
    compare(Path("a"), "generate", np.where(painted > 102, 120, EXPECTED), EXPECTED)


@pytest.mark.parametrize(
    "painted",
    [
        EXPECTED + np.uint8(3),
        np.where(np.arange(1200).reshape(EXPECTED.shape) < 13, 100 + MAX_DIFFERENCE + 1, EXPECTED),
    ],
    ids=["mean", "share"],
)
def test_more_than_that_is_another_picture(painted: np.ndarray) -> None:
    with pytest.raises(
        ModelFolderError, match=r"^a: generate does not paint the reference: .* off"
    ):
        compare(Path("a"), "generate", painted.astype(np.uint8), EXPECTED)
