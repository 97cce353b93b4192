"""Read and write image files; `-` is standard input or output."""

import os
import sys
import tempfile
from pathlib import Path

from ..errors import PasticheError

STANDARD = Path("-")


def read(path: Path) -> bytes:
    """Read a file or standard input. Raises PasticheError."""
    try:
        return sys.stdin.buffer.read() if path == STANDARD else path.read_bytes()
    except OSError as error:
        raise PasticheError(f"cannot read it: {error.strerror}") from error


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, or standard output. Creates folders as needed.

    Raises PasticheError; BrokenPipeError if nobody reads standard output.
    """
    if path == STANDARD:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            # Files of mkstemp are readable by their owner alone.
            Path(partial).chmod(0o666 & ~_umask())
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PasticheError(f"cannot write {path}: {error.strerror}") from error


def check_standard_output() -> None:
    """Raise PasticheError if standard output is a terminal, which cannot show a picture's bytes."""
    if sys.stdout.isatty():
        raise PasticheError(
            "standard output is a terminal; name a file with -o, or redirect the output"
        )


def _umask() -> int:
    umask = os.umask(0)  # the only way to read it is to set it
    os.umask(umask)
    return umask
