import math

import pytest

from training.fit.adversarial.health import AdversarialError, HealthMonitor


def failing_after(monitor: HealthMonitor, loss: float, variation: float) -> tuple[int, str]:
    """After how many steps a fit of such numbers is stopped, and with which message."""
    for step in range(200):
        try:
            monitor.check([1.0], loss, variation)
        except AdversarialError as error:
            return step + 1, str(error)
    return 200, ""


def test_a_sound_fit_goes_on() -> None:
    assert failing_after(HealthMonitor(won=0.01), 1.2, 0.8) == (200, "")


@pytest.mark.parametrize(
    ("loss", "variation", "words"),
    [(0.001, 0.8, "discriminator has won outright"), (1.2, 0.01, "the same flat picture")],
)
def test_a_failure_is_noticed_within_200_steps(loss: float, variation: float, words: str) -> None:
    step, message = failing_after(HealthMonitor(won=0.01), loss, variation)
    assert step == 100
    assert words in message


def test_a_fit_may_recover() -> None:
    monitor = HealthMonitor(won=0.01)
    for _ in range(3):
        for _ in range(99):
            monitor.check([1.0], 0.001, 0.01)
        assert not monitor.is_healthy
        monitor.check([1.0], 1.2, 0.8)
        assert monitor.is_healthy


@pytest.mark.parametrize("place", range(3))
def test_nan_is_noticed_immediately(place: int) -> None:
    numbers = [1.0, 1.0, 1.0]
    numbers[place] = math.nan
    with pytest.raises(AdversarialError, match="NaN: lower the learning rates"):
        HealthMonitor(won=0.01).check([numbers[0]], numbers[1], numbers[2])
