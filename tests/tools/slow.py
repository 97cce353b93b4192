"""The slow tests, which `make test-fast` leaves out: `python -m tests.tools.slow REPORT`.

REPORT is the output of `pytest --durations=0 -vv`. The command writes the list anew: every test
function whose calls took longer than half a second in all.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.tools.repository import ROOT

LIST = ROOT / "tests" / "slow.txt"
SECONDS = 0.5
_CALL = re.compile(r"^(\d+\.\d+)s call +(tests/\S+\.py::\w+)", re.MULTILINE)


def slow_tests(report: str, seconds: float = SECONDS) -> list[str]:
    """The test functions, as `path::name`, whose calls together take longer than `seconds`.

    Set-up does not count: that of a shared fixture is charged to whichever test runs first.
    """
    total: dict[str, float] = defaultdict(float)
    for took, function in _CALL.findall(report):
        total[function] += float(took)
    return sorted(function for function, took in total.items() if took > seconds)


def read_list() -> frozenset[str]:
    """The test functions in tests/slow.txt."""
    return frozenset(LIST.read_text(encoding="utf-8").split())


def stale(listed: Iterable[str]) -> list[str]:
    """The entries that name no test function in the tree."""
    found = []
    for entry in listed:
        path, _, name = entry.partition("::")
        file = ROOT / path
        if not file.is_file() or f"def {name}(" not in file.read_text(encoding="utf-8"):
            found.append(entry)
    return sorted(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write tests/slow.txt from a report; 1 if the report has no durations."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.slow")
    parser.add_argument("report", type=Path, help="output of `pytest --durations=0 -vv`")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args(arguments)
    report = options.report.read_text(encoding="utf-8")
    if not _CALL.search(report):
        print(f"error: {options.report} has no durations; run pytest --durations=0 -vv")
        return 1
    functions = slow_tests(report, options.seconds)
    LIST.write_text("".join(f"{function}\n" for function in functions), encoding="utf-8")
    print(f"{LIST}: {len(functions)} slow tests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
