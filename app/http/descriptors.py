"""File descriptors: fit the connections to the limit, and report when none is left."""

import asyncio
import errno
import logging
import math
import resource
from typing import Any

log = logging.getLogger(__name__)

SPARE = 64  # descriptors for everything else: model files, libraries, the event loop, logs


def connection_limit(wanted: int, reserve: int) -> int:
    """Return `wanted`, or less if the limit on open files does not allow that many connections.

    Raises the soft limit, up to the hard one, to make room for `wanted` and `reserve` connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + reserve + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError) as error:
            log.warning("the limit on open files stays at %d: %s", soft, error)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        log.info("connections: at most %d; open files: at most %d", wanted, soft)
        return wanted
    allowed = max(1, soft - reserve - SPARE)
    log.warning(
        "connections: at most %d, not %d, because at most %d files may be open; "
        "raise the hard limit (ulimit -Hn) or lower PASTICHE_CONNECTIONS",
        allowed,
        wanted,
        soft,
    )
    return allowed


class ExceptionHandler:
    """An event loop exception handler that reports missing descriptors at most once a second."""

    def __init__(self) -> None:
        self._reported = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an exception of the event loop."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            loop.default_exception_handler(context)
        elif loop.time() >= self._reported + 1:
            self._reported = loop.time()
            log.error(
                "no file descriptor is left for new connections: raise the limit on open files "
                "or lower PASTICHE_CONNECTIONS"
            )
