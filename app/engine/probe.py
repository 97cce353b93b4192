"""Whether the networks still paint: a real inference on the smallest image, on demand."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import PasticheError
from .network import Network

log = logging.getLogger(__name__)

FRESH = 3.0  # seconds that an answer is good for
PATIENCE = 5.0  # seconds in which the smallest image must be painted


class Probe:
    """Runs beside the queue, in a thread of its own, so that a long line is no sign of a fault."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "probe")
        self._painting: asyncio.Future[str | None] | None = None  # or painted
        self._done = 0.0

    async def fault(self, networks: Sequence[Network]) -> str | None:
        """Why a network cannot paint, None if all can; as it was found FRESH seconds ago at most.

        Callers that come meanwhile share one inference.
        """
        stale = self._painting is None or self._painting.done()
        if self._painting is None or (stale and time.monotonic() - self._done > FRESH):
            loop = asyncio.get_running_loop()
            self._painting = loop.run_in_executor(self._thread, self._paint, tuple(networks))
        try:
            return await asyncio.wait_for(asyncio.shield(self._painting), PATIENCE)
        except TimeoutError:
            return f"the device has not painted the smallest image in {PATIENCE:g} seconds"

    def doubt(self, fault: str) -> None:
        """Callers have met a fault: that is the answer until an inference, after FRESH seconds."""
        self._painting = asyncio.get_running_loop().create_future()
        self._painting.set_result(fault)
        self._done = time.monotonic()

    def _paint(self, networks: Sequence[Network]) -> str | None:
        try:
            for network in networks:
                network.warm_up()
        except PasticheError as error:
            return f"{network.name}: {error}"
        except Exception:
            log.exception("%s cannot paint", network.name)
            return f"{network.name}: something went wrong on our side"
        finally:
            self._done = time.monotonic()
        return None

    def close(self) -> None:
        """Ask nothing more."""
        self._thread.shutdown(wait=False)
