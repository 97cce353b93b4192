import functools
import itertools
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.tools.fits import texture_recipe
from training.fit.adversarial.health import AdversarialError, HealthMonitor
from training.fit.adversarial.loss import LOSSES
from training.fit.features import load_loss_network
from training.fit.texture import loop
from training.fit.texture.checkpoint import TextureState, initial_texture_state
from training.fit.texture.data import load_paintings
from training.fit.texture.gram import GramLoss
from training.fit.texture.loop import (
    TextureRecord,
    rate_factor,
    relative_variation,
    texture_steps,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ONE_PHASE = "phases=[{steps=50, size=32, batch=2}]"


def state_of(place: Path, *overrides: str) -> TextureState:
    return initial_texture_state(texture_recipe(place, *overrides), torch.device("cpu"))


def records_of(place: Path, state: TextureState, count: int = 1000) -> list[TextureRecord]:
    recipe = state.recipe
    paintings = load_paintings(recipe, place / "paintings")
    gram = None
    if recipe.gram_weight:
        gram = GramLoss(load_loss_network(recipe.loss_network), paintings, recipe)
    return list(itertools.islice(texture_steps(state, paintings, gram), count))


def test_a_record_describes_each_step(texture_place: Path) -> None:
    state = state_of(texture_place)
    records = records_of(texture_place, state)
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.size for record in records] == [16] * 3 + [32] * 3
    assert [record.losses.gram > 0 for record in records] == [False] * 3 + [True] * 3
    assert [record.reduction > 0 for record in records] == [True] * 4 + [False] * 2
    for record in records:
        assert record.gradient_norm > 0
        assert record.images == 2
        assert record.images_per_second == 2 / record.seconds > 0
        assert record.is_healthy
    assert state.seconds == pytest.approx(sum(record.seconds for record in records))


def test_a_short_fit_comes_nearer_to_the_paintings(texture_place: Path) -> None:
    for name, tint in (("0", (220, 40, 40)), ("1", (40, 60, 220))):
        path = texture_place / "paintings" / f"{name}.png"
        clouds = Image.open(path)
        Image.blend(clouds, Image.new("RGB", clouds.size, tint), 0.7).save(path)
        clouds.close()
    state = state_of(texture_place, ONE_PHASE, "gram_weight=10")
    paintings = load_paintings(state.recipe, texture_place / "paintings")
    palettes = torch.cat([painting.mean((2, 3)) for painting in paintings])
    noise = torch.rand(2, 4, 8, 8) * 2 - 1

    @torch.no_grad()
    def distance() -> float:
        pictures = state.model(noise, torch.tensor([0, 1]))
        return float((pictures.mean((2, 3)) - palettes).abs().mean())

    before = distance()
    records_of(texture_place, state)
    assert distance() < 0.6 * before


@pytest.mark.parametrize("name", LOSSES)
def test_the_adversary_alone_moves_the_pictures(texture_place: Path, name: str) -> None:
    state = state_of(texture_place, ONE_PHASE, "gram_weight=0", f"adversarial_loss={name}")
    before = [parameter.clone() for parameter in state.model.parameters()]
    records = records_of(texture_place, state, 3)
    assert (records[0].losses.penalty > 0) == (name == "wasserstein")
    assert all(math.isfinite(v) for record in records for v in vars(record.losses).values())
    changed = [
        not torch.equal(one, other)
        for one, other in zip(before, state.model.parameters(), strict=True)
    ]
    assert sum(changed) > len(changed) / 2
    assert all(parameter.requires_grad for parameter in state.discriminator.parameters())


def test_the_averaged_weights_lag_behind(texture_place: Path) -> None:
    state = state_of(texture_place)
    first = state.model.styles.clone()
    records_of(texture_place, state, 2)
    moved = (state.model.styles - first).abs().mean()
    assert 0 < (state.average.model.styles - first).abs().mean() < moved


def test_nan_is_noticed_before_it_reaches_the_weights(texture_place: Path) -> None:
    state = state_of(texture_place, "learning_rate=1e30", "other_learning_rate=1e30")
    with pytest.raises(AdversarialError, match="NaN"):
        records_of(texture_place, state)
    assert state.step < 6
    assert all(parameter.isfinite().all() for parameter in state.model.parameters())
    assert all(parameter.isfinite().all() for parameter in state.discriminator.parameters())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop after 4 failing steps, not 100."""
    monkeypatch.setattr(loop, "HealthMonitor", functools.partial(HealthMonitor, steps=4))


def test_a_dead_generator_is_noticed(texture_place: Path, impatient: None) -> None:
    state = state_of(texture_place, "gram_weight=0", "other_learning_rate=1e-9")
    with torch.no_grad():
        for head in state.model.generator.heads:
            head.weight.zero_()  # type: ignore[operator]
    with pytest.raises(AdversarialError, match="the same flat picture for 4 steps"):
        records_of(texture_place, state)


def test_a_discriminator_that_wins_outright_is_noticed(
    texture_place: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    easily_won = LOSSES["hinge"]._replace(won=100.0)
    monkeypatch.setitem(LOSSES, "hinge", easily_won)
    with pytest.raises(AdversarialError, match="the discriminator has won outright for 4 steps"):
        records_of(texture_place, state_of(texture_place))


def test_a_generator_that_ignores_its_noise_has_no_variation() -> None:
    real = torch.rand(2, 3, 16, 16)
    cell = torch.rand(2, 3, 4, 4)
    assert relative_variation(cell.repeat(1, 1, 4, 4), real, 4) == 0
    assert relative_variation(real, real, 4) == pytest.approx(1)
    assert relative_variation(real / 2, real, 4) == pytest.approx(0.5)


def test_the_rates_fall_at_the_end(texture_place: Path) -> None:
    recipe = texture_recipe(texture_place, "phases=[{steps=10, size=32}]", "decay=0.5")
    factors = [rate_factor(recipe, step) for step in range(10)]
    assert factors == [1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    assert rate_factor(texture_recipe(texture_place, "decay=0"), 5) == 1
