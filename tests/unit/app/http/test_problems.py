import json

from app.errors import BadOption
from app.http.problems import MAX_DETAIL, problem_response


def detail(message: str) -> str:
    response = problem_response(BadOption(message), "an-id")
    found: str = json.loads(bytes(response.body))["detail"]
    return found


def test_a_long_detail_is_truncated() -> None:
    assert len(detail("é" * MAX_DETAIL)) == MAX_DETAIL
    truncated = detail("é" * 1_000_000)
    assert len(truncated) == MAX_DETAIL
    assert truncated.endswith("é…")
