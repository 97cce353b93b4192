from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from tests.tools.fits import assert_same, checkpoint, fit_recipe
from tests.tools.generated import planes
from training.fit import loop
from training.fit import previews as preview
from training.fit.adversarial.game import Game, Play
from training.fit.adversarial.health import AdversarialError, HealthMonitor
from training.fit.checkpoint import CHECKPOINT, TrainState, initial_state
from training.fit.collapse import FLAT_STEPS, CollapseError
from training.fit.data import find_photos, load_paintings
from training.fit.objective import perceptual_loss
from training.fit.recipe import Recipe
from training.fit.session import FitOptions, fit

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def fit_here(fit_place: Path, state: TrainState, **options: Any) -> None:
    photos = find_photos(fit_place / "photos")
    loss = perceptual_loss(state.recipe, fit_place / "paintings", CPU)
    fit(
        state,
        loss,
        photos,
        fit_place,
        preview.sheet_crops(photos, 32),
        FitOptions(workers=0, **options),
        paintings=load_paintings(state.recipe, fit_place / "paintings"),
    )


def test_a_fit_lowers_the_loss(fit_place: Path) -> None:
    state = initial_state(
        fit_recipe(fit_place, "phases=[{steps=40, crop=32, batch=4}]", "learning_rate=0.01"), CPU
    )
    loss = perceptual_loss(state.recipe, fit_place / "paintings", CPU)
    photos, styles = planes(2, 48, 48), torch.tensor([0, 1])

    @torch.no_grad()
    def measure() -> float:
        content, style, _ = loss(state.model.paint(photos, styles), photos, styles)
        return float(content.mean() + 10 * style.mean())

    before = measure()
    fit_here(fit_place, state)
    assert state.step == 40
    assert measure() < 0.7 * before


def test_a_fit_against_an_adversary_lowers_the_loss_that_the_adversary_sets(
    fit_place: Path,
) -> None:
    recipe = fit_recipe(
        fit_place,
        "phases=[{steps=40, crop=32, batch=4}]",
        "learning_rate=0.01",
        "style_weight=0",
        "adversarial_weight=10",
        "discriminator_widths=[8, 8]",
        "spectral_norm=false",
        "discriminator_learning_rate=1e-6",  # a judge that hardly moves
    )
    state, untouched = initial_state(recipe, CPU), initial_state(recipe, CPU)
    fit_here(fit_place, state)
    assert state.adversary is not None
    photos, styles = planes(4, 48, 48), torch.tensor([0, 1, 0, 1])
    with torch.no_grad():
        before, after = (
            state.adversary.generator_loss(s.model.paint(photos, styles), styles).mean()
            for s in (untouched, state)
        )
    assert after < before - 0.1


def test_a_discriminator_that_wins_outright_ends_the_fit_and_keeps_the_last_good_checkpoint(
    fit_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = fit_recipe(
        fit_place,
        "phases=[{steps=12, crop=32, batch=2}]",
        "adversarial_weight=1",
        "discriminator_widths=[4, 4]",
    )
    state = initial_state(recipe, CPU)
    monkeypatch.setattr(loop, "HealthMonitor", partial(HealthMonitor, steps=5))
    real, played = Game.play, 0

    def play(*arguments: Any) -> Play:
        nonlocal played
        played += 1
        return real(*arguments)._replace(discriminator=0.0 if played > 4 else 1.0)

    monkeypatch.setattr(Game, "play", play)
    with pytest.raises(AdversarialError, match="the discriminator has won outright for 5 steps"):
        fit_here(fit_place, state, sheet_every=2)
    assert checkpoint(fit_place, ".")["step"] == 4


def test_the_weight_of_a_style_affects_only_that_style(fit_place: Path) -> None:
    found = []
    for weight in (10, 30):
        values = fit_recipe(fit_place).model_dump()
        values["styles"][1]["style_weight"] = weight
        values["clip_norm"] = 1e6  # all vectors are clipped together
        state = initial_state(Recipe.model_validate(values), CPU)
        state.model.network.requires_grad_(False)
        fit_here(fit_place, state)
        found.append(state.model.styles.detach())
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][1], found[1][1])


def test_a_fit_writes_checkpoint_sheet_and_scalars(
    fit_place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = initial_state(fit_recipe(fit_place, "phases=[{steps=5, crop=32, batch=2}]"), CPU)
    fit_here(fit_place, state, log_every=2, sheet_every=3)

    held = checkpoint(fit_place, ".")
    assert held["step"] == 5
    assert held["seconds"] > 0
    assert_same(held["gallery"], dict(state.model.state_dict()))
    assert Recipe.model_validate(held["recipe"]) == state.recipe

    assert [path.name for path in sorted(fit_place.glob("sheet-*"))] == [
        "sheet-000003.jpg",
        "sheet-000005.jpg",
    ]
    with Image.open(fit_place / "sheet-000005.jpg") as sheet:
        assert sheet.size == (32 * (1 + 2), 32 * preview.SHEET_PHOTOS)

    board = EventAccumulator(str(fit_place))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {
        *(f"loss/{name}" for name in ("content", "style", "variation", "objective")),
        *("gradient_norm", "learning_rate", "loss/peaks", "loss/checkerboard", "loss/blocking"),
        *("loss/pattern", "loss/color", "loss/adversarial", "loss/discriminator"),
    }
    content, style, variation, total = (
        board.Scalars(f"loss/{name}") for name in ("content", "style", "variation", "objective")
    )
    assert [scalar.step for scalar in total] == [2, 4]
    terms = content[1].value + 10 * style[1].value + 0.2 * variation[1].value
    assert terms == pytest.approx(total[1].value, rel=1e-3)


def test_a_fit_that_paints_flat_pictures_is_stopped(fit_place: Path) -> None:
    phases = f"phases=[{{steps={FLAT_STEPS + 5}, crop=32, batch=1}}]"
    state = initial_state(
        fit_recipe(fit_place, phases, "learning_rate=1e-12", "style_learning_rate=1e-12"), CPU
    )
    torch.nn.init.zeros_(state.model.network.output.weight)
    with pytest.raises(CollapseError, match="flat pictures for 25 steps: lower learning_rate"):
        fit_here(fit_place, state)
    assert state.step == FLAT_STEPS - 1
    assert not (fit_place / CHECKPOINT).exists()
