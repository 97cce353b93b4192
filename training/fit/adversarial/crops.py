"""Crops of the paintings, which the discriminators see as real."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor


class PaintingCrops:
    """The crops of every step, a pure function of (seed, step, rank), as the photos' are."""

    def __init__(self, paintings: Sequence[Tensor], seed: int, rank: int = 0) -> None:
        """paintings: one [1, 3, H, W] in [0, 1] for each style, at the size of the fit."""
        self.paintings, self.seed, self.rank = paintings, seed, rank
        self.largest = min(min(painting.shape[2:]) for painting in paintings)

    def draw(self, step: int, styles: Sequence[int], side: int) -> tuple[Tensor, Tensor]:
        """Return a crop for each style index [N, 3, s, s], and numbers [N] uniform in [0, 1].

        s is `side`, or the smallest side of all paintings if that is less. The numbers are the
        shares of the gradient penalty. Half of the crops are mirrored.
        """
        rng = random.Random(f"{self.seed}/{step}/{self.rank}/paintings")
        crops = [self._crop(self.paintings[i], min(side, self.largest), rng) for i in styles]
        return torch.cat(crops), torch.tensor([rng.random() for _ in styles])

    def _crop(self, painting: Tensor, side: int, rng: random.Random) -> Tensor:
        top, left = (rng.randint(0, length - side) for length in painting.shape[2:])
        crop = painting[..., top : top + side, left : left + side]
        return crop.flip(3) if rng.random() < 0.5 else crop
