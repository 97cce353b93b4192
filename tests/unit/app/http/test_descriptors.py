import asyncio
import errno
import subprocess
import sys

import pytest

from app.http.descriptors import ExceptionHandler

CODE = """
import logging, resource, sys
from app.http.descriptors import SPARE, connection_limit
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
limit = connection_limit(1000, 64)
print(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE - 64)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "limit", "message"),
    [
        (256, 512, 384, "at most 384, not 1000, because at most 512 files"),
        (256, 2000, 1000, "at most 1000; open files: at most 1128"),
        (64, 64, 1, "at most 1, not 1000"),
    ],
)
def test_the_connection_limit_fits_the_limit_on_open_files(
    soft: int, hard: int, limit: int, message: str
) -> None:
    command = [sys.executable, "-c", CODE.format(soft=soft, hard=hard)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    log, result = done.stdout.splitlines()
    assert message in log
    assert result.split()[0] == str(limit)
    if limit > 1:
        assert limit <= int(result.split()[1])


def test_missing_descriptors_are_logged_at_most_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(ExceptionHandler())
        for _ in range(1000):
            error = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "accept", "exception": error})
        loop.call_exception_handler({"message": "another error"})

    asyncio.run(test())
    assert len(caplog.messages) < 10
    assert "PASTICHE_CONNECTIONS" in caplog.messages[0]
    assert caplog.messages[-1] == "another error"
