import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from tests.tools.generated import vgg_weights
from training.fit.features import LossNetwork
from training.scoring.textures.bounds import shuffled_pixels
from training.scoring.textures.judge import TextureError, judge

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network() -> LossNetwork:
    return LossNetwork(vgg_weights(), padding="constant")


@pytest.fixture(scope="module")
def painting() -> Tensor:
    return torch.tensor(np.asarray(data.chelsea())[50:242, 80:336]).permute(2, 0, 1)[None] / 255


def test_the_painting_is_at_the_floor_and_copies(painting: Tensor, network: LossNetwork) -> None:
    found = judge(painting, painting, network)
    assert found.mean_wasserstein.share < 0.05
    assert found.kernel.share < 0.05
    assert found.copies
    assert judge(painting, painting, network) == found  # the same seed


def test_noise_is_at_the_ceiling_and_does_not_copy(painting: Tensor, network: LossNetwork) -> None:
    noise = shuffled_pixels(painting, torch.Generator().manual_seed(1))
    found = judge(noise, painting, network)
    assert found.mean_wasserstein.share == pytest.approx(1, abs=0.2)
    assert found.kernel.share == pytest.approx(1, abs=0.3)
    assert not found.copies


def test_a_blurred_painting_lacks_the_finest_level(painting: Tensor, network: LossNetwork) -> None:
    found = judge(F.avg_pool2d(painting, 5, 1, 2), painting, network).wasserstein
    assert found[0].value > 3 * found[0].floor
    assert found[1].value < found[0].value


@pytest.mark.parametrize("which", ["texture", "painting"])
def test_a_picture_that_is_too_small_is_an_error(which: str, network: LossNetwork) -> None:
    pictures = {"texture": torch.zeros(1, 3, 128, 128), "painting": torch.zeros(1, 3, 128, 128)}
    pictures[which] = torch.zeros(1, 3, 300, 127)
    with pytest.raises(TextureError, match=f"the {which} is 127x300 .* must be at least 128"):
        judge(pictures["texture"], pictures["painting"], network)
