from collections.abc import Iterator

import app.errors
from app.errors import PasticheError, RequestError, Unavailable


def classes(base: type[PasticheError] = PasticheError) -> Iterator[type[PasticheError]]:
    yield base
    for derived in base.__subclasses__():
        yield from classes(derived)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = app.errors.__doc__ or ""
    for error in classes():
        line = next(line for line in drawn.splitlines() if f"-- {error.__name__} " in f"-- {line} ")
        if issubclass(error, RequestError | Unavailable) and error not in (
            RequestError,
            Unavailable,
        ):
            assert f"{error.status} {error.code}" in line


def test_every_request_error_is_a_4xx_and_no_two_share_a_code() -> None:
    errors = list(classes(RequestError))
    assert all(400 <= error.status < 500 for error in errors)
    assert len({error.code for error in errors}) == len(errors)


def test_what_is_unavailable_says_when_to_come_back() -> None:
    error = app.errors.Overloaded("the queue is full", retry_after=7)
    assert error.status == 503
    assert error.headers == {"Retry-After": "7"}
