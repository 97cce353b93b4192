from collections.abc import Iterator

import app.errors
from app.errors import PasticheError, RequestError, Unavailable


def classes(base: type[PasticheError] = PasticheError) -> Iterator[type[PasticheError]]:
    yield base
    for derived in base.__subclasses__():
        yield from classes(derived)


def test_the_docstring_shows_every_class_with_its_status_and_code() -> None:
    docstring = app.errors.__doc__ or ""
    for error in classes():
        line = next(
            line for line in docstring.splitlines() if f"-- {error.__name__} " in f"-- {line} "
        )
        if issubclass(error, RequestError | Unavailable) and error not in (
            RequestError,
            Unavailable,
        ):
            assert f"{error.status} {error.code}" in line


def test_every_request_error_is_a_4xx_and_no_two_share_a_code() -> None:
    errors = list(classes(RequestError))
    assert all(400 <= error.status < 500 for error in errors)
    assert len({error.code for error in errors}) == len(errors)


def test_unavailable_errors_have_a_retry_after_header() -> None:
    error = app.errors.Overloaded("the queue is full", retry_after=7)
    assert error.status == 503
    assert error.headers == {"Retry-After": "7"}
