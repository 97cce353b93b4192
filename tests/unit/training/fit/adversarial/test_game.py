from pathlib import Path

import pytest
import torch

from tests.tools.fits import fit_recipe
from training.fit.adversarial.game import Game
from training.fit.checkpoint import initial_state
from training.fit.data import load_paintings

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_adversary_learns_to_tell_pastiches_from_crops(fit_place: Path) -> None:
    recipe = fit_recipe(fit_place, "adversarial_weight=1", "discriminator_widths=[8, 8]")
    adversary = initial_state(recipe, torch.device("cpu")).adversary
    assert adversary is not None
    optimizer = torch.optim.Adam(adversary.parameters(), 5e-3)
    game = Game(adversary, load_paintings(recipe, fit_place / "paintings"), seed=0)
    styles = torch.tensor([0, 1, 0, 1])
    fakes = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plays = []
    for step in range(40):
        optimizer.zero_grad()
        plays.append(game.play(fakes, styles, step))
        optimizer.step()
        adversary.update_spectral_norms()
    assert plays[-1].discriminator < 0.5 * plays[0].discriminator
    assert plays[-1].generator.mean() > plays[0].generator.mean()
    assert plays[0].gradient_norm > 0
    assert plays[0].variation > 1  # noise varies more than clouds
