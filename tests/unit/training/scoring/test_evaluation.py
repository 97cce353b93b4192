from pathlib import Path

import pytest
import torch

from training.scoring.evaluation import available_second_network, table


def test_the_table_marks_values_outside_the_limits() -> None:
    good = {"objective_64": 1.0, "checkerboard_64": 1.0, "dead_blocks_64": 0.0}
    assert "*" not in table({"warm": good}, 64)
    (_, line) = table({"warm": {**good, "checkerboard_64": 50.0}}, 64).splitlines()
    assert "50.0000 *" in line
    assert line.count("*") == 1


def test_the_second_network_is_one_that_is_cached_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert available_second_network("vgg19") is None
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").touch()
    assert available_second_network("vgg19") == "vgg16"
    assert available_second_network("some.safetensors") == "vgg16"
    assert available_second_network("vgg16") is None
