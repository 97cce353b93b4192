import torch

from tests.tools.generated import planes
from training.fit.adversarial.crops import PaintingCrops

PAINTINGS = [planes(1, 40, 60), planes(1, 50, 44, seed=1)]


def test_a_crop_is_a_piece_of_the_painting_of_its_style_mirrored_half_of_the_time() -> None:
    crops, shares = PaintingCrops(PAINTINGS, seed=0).draw(0, [0, 1] * 10, 24)
    assert crops.shape == (20, 3, 24, 24)
    assert shares.shape == (20,)
    assert 0 <= float(shares.min()) < float(shares.max()) < 1
    mirrored = 0
    for number, crop in enumerate(crops):
        pieces = PAINTINGS[number % 2][0].unfold(1, 24, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4)
        whole = bool((pieces == crop).flatten(2).all(2).any())
        mirrored += not whole
        assert whole or bool((pieces == crop.flip(2)).flatten(2).all(2).any())
    assert 0 < mirrored < 20


def test_crops_depend_on_seed_step_and_rank_alone() -> None:
    def draw(seed: int = 0, step: int = 0, rank: int = 0) -> torch.Tensor:
        return PaintingCrops(PAINTINGS, seed, rank).draw(step, [0, 1], 16)[0]

    assert torch.equal(draw(), draw())
    assert not any(torch.equal(draw(), draw(**{name: 1})) for name in ("seed", "step", "rank"))


def test_crops_shrink_to_the_smallest_painting() -> None:
    crops, _ = PaintingCrops(PAINTINGS, seed=0).draw(0, [0, 1], 256)
    assert crops.shape == (2, 3, 40, 40)
