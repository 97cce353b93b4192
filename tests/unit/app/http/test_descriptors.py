import subprocess
import sys

import pytest

CODE = """
import logging, resource, sys
from app.http.descriptors import SPARE, connection_limit
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
limit = connection_limit(1000, 64)
print(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE - 64)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "limit", "says"),
    [
        (256, 512, 384, "at most 384, not 1000, because at most 512 files"),
        (256, 2000, 1000, "at most 1000; open files: at most 1128"),
        (64, 64, 1, "at most 1, not 1000"),
    ],
)
def test_connections_are_as_many_as_files_may_be_open(
    soft: int, hard: int, limit: int, says: str
) -> None:
    command = [sys.executable, "-c", CODE.format(soft=soft, hard=hard)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    log, told = done.stdout.splitlines()
    assert says in log
    assert told.split()[0] == str(limit)
    if limit > 1:
        assert limit <= int(told.split()[1])
