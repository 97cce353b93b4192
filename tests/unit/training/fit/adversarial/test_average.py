import pytest
import torch
from torch import nn

from training.fit.adversarial.average import WeightAverage


def test_the_average_follows_the_weights_by_the_decay() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 1.0)
    average = WeightAverage(layer, 0.75)
    nn.init.constant_(layer.weight, 5.0)
    average.update(layer, 1000)
    assert average.model.weight.item() == 2  # 0.75 * 1 + 0.25 * 5
    average.update(layer, 1001)
    assert average.model.weight.item() == 2.75


def test_the_first_steps_move_further() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 0.0)
    average = WeightAverage(layer, 0.999)
    nn.init.constant_(layer.weight, 1.0)
    average.update(layer, 1)
    assert average.model.weight.item() == pytest.approx(10 / 11)


def test_buffers_are_copied_and_the_source_is_left_alone() -> None:
    norm = nn.BatchNorm1d(1)
    average = WeightAverage(norm, 0.5)
    assert norm.running_mean is not None
    norm.running_mean.fill_(7)
    average.update(norm, 1)
    assert average.model.running_mean is not None
    assert average.model.running_mean.item() == 7
    assert norm.weight.requires_grad
    assert not average.model.weight.requires_grad
    assert torch.equal(norm.weight, torch.ones(1))


def test_a_decay_of_one_would_never_learn() -> None:
    with pytest.raises(ValueError, match="below 1, not 1"):
        WeightAverage(nn.Linear(1, 1), 1.0)
