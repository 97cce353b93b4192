"""When the model folders have changed, seen by looking at them now and then."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from ..model_folder import WEIGHTS, model_folders

log = logging.getLogger(__name__)

Fingerprint = frozenset[tuple[str, int, int, int]]


def fingerprint(path: Path) -> Fingerprint:
    """Names, inodes, sizes and times of a model folder's files; the same until one changes.

    Files that are never served, or half written, do not count.
    """
    files = (*path.glob("*"), *path.glob("styles/*.safetensors"), *path.glob("previews/*.jpg"))
    return frozenset(
        (str(file.relative_to(path)), *_stamp(file))
        for file in files
        if file.name != WEIGHTS and file.suffix != ".partial" and not file.is_dir()
    )


def fingerprints(models: Path) -> dict[Path, Fingerprint]:
    """Of every model folder in `models`."""
    return {path: fingerprint(path) for path in model_folders(models)}


async def changes(
    models: Path, seconds: float, seen: Mapping[Path, Fingerprint]
) -> AsyncIterator[None]:
    """Yield whenever the folders have changed since `seen`, or since it last yielded.

    Looks every so many seconds, and waits until two looks find the same: what changes between them
    is still being copied.
    """
    last = seen
    while True:
        await asyncio.sleep(seconds)
        try:
            now = await asyncio.to_thread(fingerprints, models)
        except OSError as error:
            log.warning("the model folders cannot be looked at: %s", error)
            continue
        if now == last and now != seen:
            seen = now
            yield
        last = now


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError as error:  # whoever reads the file tells it
        return error.errno or 0, -1, -1
    return status.st_ino, status.st_size, status.st_mtime_ns
