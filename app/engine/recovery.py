"""Painting batches, with recovery when the device runs out of memory."""

import logging
from typing import Any, Protocol

from numpy.typing import NDArray

from ..errors import BadOutput, OutOfMemory, PasticheError
from ..model_folder import Vector
from ..pixels.images import Pixels
from .network import SINGLE_VALUE

log = logging.getLogger(__name__)

RECOVERY_BATCHES = 100  # batches after which a halved limit has doubled again


Source = NDArray[Any]
"""What a picture is painted from: an image uint8 [H, W, 3], or noise float32 [Z, h, w]."""


class Painter(Protocol):
    """A network or a generator, as the scheduler uses it."""

    name: str
    operation: str  # "stylize" or "generate"

    def pixels(self, source: Source) -> int:
        """Return the number of pixels of the picture painted from a source."""

    def paint(self, sources: Source, styles: Vector) -> Pixels:
        """Paint [N, ...] sources in styles float32 [N, D]; see Network.paint, Generator.paint."""

    def valid(self, sources: Source, painted: Pixels) -> list[bool]:
        """Return for each picture whether it is a valid output for its source."""

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

    def paint(self, network: Painter, sources: Source, styles: Vector) -> list[Pixels | Exception]:
        """Paint [N, ...] sources in styles float32 [N, D].

        Returns for each source its picture uint8 [H, W, 3], or the exception that prevented it. If
        the device runs out of memory, reloads the network once and paints the batch in halves, down
        to single pictures. Raises what Painter.rebuild raises other than a PasticheError.
        """
        return self._paint(network, sources, styles, rebuilt=False)

    def _paint(
        self, network: Painter, sources: Source, styles: Vector, rebuilt: bool
    ) -> list[Pixels | Exception]:
        count = len(sources)
        try:
            painted = network.paint(sources, styles)
            self.limit = min(self.max_pixels, self.limit + self.max_pixels / RECOVERY_BATCHES)
            valid = network.valid(sources, painted)
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
        self.limit = half * network.pixels(sources[0])
        log.warning("out of memory for a batch of %d; trying batches of %d", count, half)
        return [
            outcome
            for part in (slice(half), slice(half, count))
            if len(sources[part])
            for outcome in self._paint(network, sources[part], styles[part], rebuilt=True)
        ]
