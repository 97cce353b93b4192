"""The readiness probe: checks on demand that the networks and generators can still paint."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import PasticheError
from .generator import Generator
from .network import Network

log = logging.getLogger(__name__)

CACHE_SECONDS = 3.0  # how long a result is reused
TIMEOUT_SECONDS = 5.0  # how long painting the smallest image may take


class Probe:
    """Runs the networks on the smallest image, and the generators on a small one.

    It uses a thread of its own rather than the queue, so that a long queue is not taken for a
    fault.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "probe")
        self._result: asyncio.Future[str | None] | None = None  # of the last or current run
        self._finished = 0.0

    async def fault(self, networks: Sequence[Network | Generator]) -> str | None:
        """Return why a network cannot paint, or None if all can.

        The result is at most CACHE_SECONDS old. Concurrent calls share one run.
        """
        if self._result is None or (self._result.done() and self._expired()):
            loop = asyncio.get_running_loop()
            self._result = loop.run_in_executor(self._thread, self._paint, tuple(networks))
        try:
            return await asyncio.wait_for(asyncio.shield(self._result), TIMEOUT_SECONDS)
        except TimeoutError:
            return f"the device has not painted the smallest image in {TIMEOUT_SECONDS:g} seconds"

    def report(self, fault: str) -> None:
        """Record a fault that requests have met; `fault` returns it for CACHE_SECONDS."""
        self._result = asyncio.get_running_loop().create_future()
        self._result.set_result(fault)
        self._finished = time.monotonic()

    def close(self) -> None:
        """Stop the thread once its current run has finished."""
        self._thread.shutdown(wait=False)

    def _expired(self) -> bool:
        return time.monotonic() - self._finished > CACHE_SECONDS

    def _paint(self, networks: Sequence[Network | Generator]) -> str | None:
        try:
            for network in networks:
                network.warm_up()
        except PasticheError as error:
            return f"{network.name}: {error}"
        except Exception:
            log.exception("%s cannot paint", network.name)
            return f"{network.name}: an unexpected error occurred; see the server's log"
        finally:
            self._finished = time.monotonic()
        return None
