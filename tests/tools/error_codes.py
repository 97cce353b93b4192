"""The error codes of the HTTP API."""

from collections.abc import Iterator

from app.errors import PasticheError


def _errors(base: type[PasticheError] = PasticheError) -> Iterator[type[PasticheError]]:
    yield base
    for derived in base.__subclasses__():
        yield from _errors(derived)


CODES = {error.code: error.status for error in _errors()}  # with their status
