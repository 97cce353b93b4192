import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, threading
from app.engine.heap import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
together = threading.Barrier(4)
def allocate():
    together.wait()
    for _ in range(100):
        bytearray(100_000)
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize("keep", [True, False])
def test_a_process_that_keeps_memory_has_one_heap(keep: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, "keep" if keep else "default"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stderr.count("Arena ") == 1) == keep
