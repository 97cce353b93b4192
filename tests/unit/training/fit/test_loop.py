import itertools
from pathlib import Path

import pytest
import torch

from tests.tools.fits import fit_recipe
from training.fit.checkpoint import TrainState, initial_state
from training.fit.data import find_photos
from training.fit.loop import StepRecord, training_steps
from training.fit.objective import perceptual_loss
from training.fit.validation import validation_set

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("small")


def state_of(place: Path) -> TrainState:
    return initial_state(fit_recipe(place), CPU)


def records_of(
    place: Path, state: TrainState, *, validate_every: int | None = None
) -> list[StepRecord]:
    photos = find_photos(place / "photos")
    loss = perceptual_loss(state.recipe, place / "paintings", CPU)
    held_out = validation_set(photos, state.recipe, CPU) if validate_every else None
    steps = training_steps(
        state, loss, photos, workers=0, held_out=held_out, validate_every=validate_every or 1
    )
    return list(steps)


def test_a_record_describes_each_step(fit_place: Path) -> None:
    state = state_of(fit_place)
    records = records_of(fit_place, state)
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    for record in records:
        losses = record.losses
        # The weights of the recipe's defaults.
        weighted = losses.content + 10 * losses.style + 0.2 * losses.variation
        assert losses.objective == pytest.approx(weighted, rel=1e-4)
        assert record.gradient_norm > 0
        assert record.images == 2
        assert record.images_per_second == 2 / record.seconds > 0
        assert record.unreadable == []
        assert record.validation is None
    assert state.seconds == pytest.approx(sum(record.seconds for record in records))
    rates = [record.learning_rate for record in records]
    assert rates[0] > rates[-1]


def test_the_state_agrees_with_the_record_when_the_caller_stops(fit_place: Path) -> None:
    state, whole = state_of(fit_place), state_of(fit_place)
    loss = perceptual_loss(state.recipe, fit_place / "paintings", CPU)
    photos = find_photos(fit_place / "photos")
    for _ in range(3):  # stop after two steps each time, and go on
        steps = training_steps(state, loss, photos, workers=0)
        *_, last = itertools.islice(steps, 2)
        steps.close()  # type: ignore[attr-defined]
        assert state.step == last.step
    records_of(fit_place, whole)
    assert state.step == whole.step == 6
    for one, other in zip(state.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_record_names_unreadable_photos(fit_place: Path) -> None:
    for name in "012":
        (fit_place / "photos" / f"{name}.png").write_bytes(b"no picture")
    messages = {m for r in records_of(fit_place, state_of(fit_place)) for m in r.unreadable}
    assert len(messages) == 3
    assert all("cannot read the picture" in message for message in messages)


def test_validation_runs_at_its_interval_and_last_and_changes_nothing(fit_place: Path) -> None:
    plain, validated = state_of(fit_place), state_of(fit_place)
    records_of(fit_place, plain)
    records = records_of(fit_place, validated, validate_every=4)
    losses = {r.step: r.validation for r in records if r.validation is not None}
    assert losses.keys() == {4, 6}
    assert losses[4] != losses[6]
    for one, other in zip(plain.model.parameters(), validated.model.parameters(), strict=True):
        assert torch.equal(one, other)
