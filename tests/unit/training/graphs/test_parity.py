from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_gallery, make_recipe
from tests.tools.generated import pixels
from training.fit.networks.transform import TransformNetwork
from training.graphs import parity
from training.graphs import transform as graph
from training.graphs.build import build_graph
from training.graphs.folder import export as write_folder
from training.graphs.parity import ParityError


@pytest.mark.parametrize("broken", ["stylize", "stylize.fp16", "freeze", "apply"])
def test_a_graph_that_differs_is_reported_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def build(network: TransformNetwork, kind: graph.Kind, *, half: bool = False) -> Any:
        name = "stylize.fp16" if half else kind
        other = make_gallery(make_recipe(), seed=1).network
        return build_graph(other if name == broken else network, kind, half=half)

    monkeypatch.setattr(parity, "build_graph", build)
    photos = [pixels(1, 20, 36)[0]]
    named = "apply" if broken == "freeze" else broken  # `freeze` is compared through `apply`
    with pytest.raises(ParityError, match=rf"^{named}: on a photo of 36x20 only \d.*largest"):
        write_folder(make_gallery(make_recipe()), make_recipe(), tmp_path / "tiny", photos, {})
    assert not (tmp_path / "tiny").exists()


def test_a_wrong_constant_fails_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "EPSILON", 1e-2)
    with pytest.raises(ParityError, match="stylize: on a photo of 48x33"):
        write_folder(make_gallery(make_recipe()), make_recipe(), tmp_path, [*pixels(1, 33, 48)], {})
    assert not list(tmp_path.iterdir())
