"""File descriptors: how many connections the limit on open files allows."""

import logging
import resource

log = logging.getLogger(__name__)

# For all that is no connection: model files, libraries, the event loop, logs.
SPARE = 64


def connection_limit(wanted: int, reserve: int) -> int:
    """At most `wanted` connections, fewer if the limit on open files allows no more.

    Raises the soft limit towards the hard one as far as `wanted` and `reserve` connections need.
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
