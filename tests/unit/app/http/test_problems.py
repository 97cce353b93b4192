import json

from app.errors import BadOption
from app.http.problems import MAX_DETAIL, problem_response


def detail(message: str) -> str:
    answer = problem_response(BadOption(message), "an-id")
    told: str = json.loads(bytes(answer.body))["detail"]
    return told


def test_no_detail_is_longer_than_its_bound() -> None:
    assert len(detail("é" * MAX_DETAIL)) == MAX_DETAIL
    told = detail("é" * 1_000_000)
    assert len(told) == MAX_DETAIL
    assert told.endswith("é…")
