"""Watching the model folders for changes, by polling."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from ..model_folder import WEIGHTS, model_folders

log = logging.getLogger(__name__)

Fingerprint = frozenset[tuple[str, int, int, int]]
"""Path, inode, size and modification time of every file of a model folder."""


def fingerprint(path: Path) -> Fingerprint:
    """Return the fingerprint of a model folder, which changes when any of its files does.

    Files that are not served, such as the weights and partly written files, do not count.
    """
    patterns = ("*", "styles/*.safetensors", "textures/*.safetensors", "previews/*.jpg")
    files = (file for pattern in patterns for file in path.glob(pattern))
    return frozenset(
        (str(file.relative_to(path)), *_stamp(file))
        for file in files
        if file.name != WEIGHTS and file.suffix != ".partial" and not file.is_dir()
    )


def fingerprints(models: Sequence[Path]) -> dict[Path, Fingerprint]:
    """Return the fingerprint of every model folder in each of `models`."""
    return {path: fingerprint(path) for folder in models for path in model_folders(folder)}


async def changes(
    models: Sequence[Path], seconds: float, seen: Mapping[Path, Fingerprint]
) -> AsyncIterator[None]:
    """Poll every `seconds`, and yield when the folders have changed since `seen` or the last yield.

    A change is reported once two polls in a row agree, so that files are not read while they are
    being copied.
    """
    last = seen
    while True:
        await asyncio.sleep(seconds)
        try:
            now = await asyncio.to_thread(fingerprints, models)
        except OSError as error:
            log.warning("cannot read the model folders: %s", error)
            continue
        if now == last and now != seen:
            seen = now
            yield
        last = now


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError as error:  # reported when the file is read
        return error.errno or 0, -1, -1
    return status.st_ino, status.st_size, status.st_mtime_ns
