import pytest
import torch

from tests.tools.generated import planes
from training.fit.collapse import FLAT_STEPS, CollapseDetector, CollapseError


@pytest.mark.parametrize(("loss", "norm"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_a_loss_or_gradient_that_is_not_finite_is_a_collapse(loss: float, norm: float) -> None:
    photos = planes(1, 32, 32)
    with pytest.raises(CollapseError, match="NaN"):
        CollapseDetector().check(photos, photos, loss, norm)


def test_one_batch_that_is_not_flat_resets_the_count() -> None:
    detector, photos, flat = CollapseDetector(), planes(3, 32, 32), torch.full((3, 3, 32, 32), 0.5)
    for _ in range(3):
        for _ in range(FLAT_STEPS - 1):
            detector.check(photos, flat, 1.0, 1.0)
        # Not flat with two samples of three: one flat picture is not a collapse.
        detector.check(photos, torch.cat([flat[:1], photos[1:]]), 1.0, 1.0)
    for _ in range(FLAT_STEPS - 1):
        detector.check(photos, flat, 1.0, 1.0)
    with pytest.raises(CollapseError):
        detector.check(photos, flat, 1.0, 1.0)
