"""Painting batches, with recovery when the device runs out of memory."""

import logging
from typing import Protocol

from ..errors import BadOutput, OutOfMemory, PasticheError
from ..model_folder import Vector
from ..pixels.images import Pixels
from .network import SINGLE_VALUE, check_output

log = logging.getLogger(__name__)

RECOVERY_BATCHES = 100  # batches after which a halved limit has doubled again


class Painter(Protocol):
    """A network, as the scheduler uses it."""

    name: str

    def paint(self, images: Pixels, styles: Vector) -> Pixels:
        """Paint images uint8 [N, H, W, 3] in styles float32 [N, D]; see Network.paint."""

    def rebuild(self) -> None:
        """Load the graphs again, to free memory; see Network.rebuild."""


class BatchPainter:
    """Paints batches, and limits them to what the device has memory for."""

    def __init__(self, max_pixels: int) -> None:
        """max_pixels: limit of a batch; a larger picture gets a batch of its own."""
        self.max_pixels = max_pixels
        self.limit: float = max_pixels  # lower after the device ran out of memory

    def set_max_pixels(self, pixels: int) -> None:
        """Change the limit of a batch."""
        self.max_pixels = self.limit = pixels

    def paint(self, network: Painter, images: Pixels, styles: Vector) -> list[Pixels | Exception]:
        """Paint images uint8 [N, H, W, 3] in styles float32 [N, D].

        Returns for each image its pastiche uint8 [H, W, 3], or the exception that prevented it. If
        the device runs out of memory, reloads the network once and paints the batch in halves, down
        to single images. Raises what Painter.rebuild raises other than a PasticheError.
        """
        return self._paint(network, images, styles, rebuilt=False)

    def _paint(
        self, network: Painter, images: Pixels, styles: Vector, rebuilt: bool
    ) -> list[Pixels | Exception]:
        count = len(images)
        try:
            painted = network.paint(images, styles)
            self.limit = min(self.max_pixels, self.limit + self.max_pixels / RECOVERY_BATCHES)
            valid = check_output(images, painted)
        except OutOfMemory as error:
            if rebuilt and count == 1:
                return [error]
        except Exception as error:
            return [error] * count
        else:
            invalid = BadOutput(SINGLE_VALUE)
            return [p if ok else invalid for p, ok in zip(painted, valid, strict=True)]
        if not rebuilt:
            try:
                network.rebuild()
            except OutOfMemory as error:
                return [error] * count
            except PasticheError:
                log.exception("%s cannot be reloaded; its sessions stay in use", network.name)
        half = (count + 1) // 2
        self.limit = half * images.shape[1] * images.shape[2]
        log.warning("out of memory for a batch of %d; trying batches of %d", count, half)
        return [
            outcome
            for part in (slice(half), slice(half, count))
            if len(images[part])
            for outcome in self._paint(network, images[part], styles[part], rebuilt=True)
        ]
