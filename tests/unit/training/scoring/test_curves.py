import json
from pathlib import Path

import pytest

from tests.tools.generated import loss_weights, planes, write_pictures
from training.fit.data import DataError
from training.fit.features import LossNetwork
from training.fit.losses import PerceptualLoss
from training.scoring.curves import Curves, curve_key, network_digest
from training.scoring.gatys import Curve


class Search:
    """Finds the given objectives in turn, up to the target or the limit."""

    def __init__(self, objectives: list[float], target: float, most: int) -> None:
        self.objectives, self.target, self.most, self.runs = objectives, target, most, 0

    def __call__(self, curve: Curve) -> None:
        self.runs += 1
        for value in self.objectives[: self.most]:
            curve.objective.append(value)
            if value <= self.target:
                break


FALL = [9.0, 5.0, 6.0, 3.0, 2.0]


def needed(curves: Curves, target: float, most: int = 5) -> tuple[int | None, int]:
    search = Search(FALL, target, most)
    return curves.evaluations_to(target, "key", most, search), search.runs


@pytest.mark.parametrize(("target", "number"), [(10, 1), (9, 1), (5.5, 2), (3, 4), (1, None)])
def test_the_first_evaluation_that_reaches_the_target_is_returned(
    target: float, number: int | None
) -> None:
    assert needed(Curves(), target) == (number, 1)


def test_a_search_runs_again_only_beyond_the_cached_curve() -> None:
    curves = Curves()
    assert needed(curves, 4) == (4, 1)
    assert needed(curves, 5.5) == (2, 0)
    assert needed(curves, 2.5) == (5, 1)
    assert needed(curves, 1) == (None, 0)


def test_the_limit_also_holds_for_a_longer_cached_curve() -> None:
    curves = Curves()
    assert needed(curves, 2) == (5, 1)
    assert needed(curves, 2, most=4) == (None, 0)


def test_curves_are_cached_between_runs(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "curves.json"
    assert needed(Curves(path), 4) == (4, 1)
    assert needed(Curves(path), 4) == (4, 0)
    assert json.loads(path.read_text()) == {"key": [9, 5, 5, 3]}


def test_an_interrupted_search_is_cached(tmp_path: Path) -> None:
    def search(curve: Curve) -> None:
        curve.objective += [9, 4]
        raise KeyboardInterrupt

    path = tmp_path / "curves.json"
    with pytest.raises(KeyboardInterrupt):
        Curves(path).evaluations_to(1, "key", 5, search)
    assert needed(Curves(path), 5) == (2, 0)


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 3}', '{"a": ["b"]}'])
def test_a_file_without_curves_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "curves.json").write_text(content)
    with pytest.raises(DataError, match=r"curves\.json does not contain curves"):
        Curves(tmp_path / "curves.json")


def test_a_key_changes_with_everything_that_the_search_depends_on(tmp_path: Path) -> None:
    first, second, third = write_pictures(tmp_path, 3)
    keys = {
        curve_key(photo, side, painting, *rest)
        for photo in (first, second)
        for side in (64, 80)
        for painting in (second, third)
        for rest in ((512, "a"), (512, "b"), (256, "a"))
    }
    assert len(keys) == 2 * 2 * 2 * 3
    before = curve_key(first, 64, second)
    first.write_bytes(third.read_bytes())
    assert curve_key(first, 64, second) != before


def test_loss_networks_differ_by_weights_and_layers() -> None:
    digests = {
        network_digest(
            PerceptualLoss(LossNetwork(loss_weights(seed)), [planes(1, 64, 64)], layers, layers)
        )
        for seed in (0, 0, 1)
        for layers in ({"relu1_1": 1.0}, {"relu2_1": 1.0})
    }
    assert len(digests) == 4
