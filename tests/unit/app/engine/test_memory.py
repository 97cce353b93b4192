import ctypes
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.engine import memory
from app.engine.memory import DeviceMemory, device_memory

RUNTIME = """
#include <stddef.h>
int cudaMemGetInfo(size_t *free, size_t *total) { *free = 1000; *total = 4000; return %d; }
"""


@pytest.fixture
def runtime(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A loaded library with the one function of the CUDA runtime that the server calls."""
    source, library = tmp_path / "runtime.c", tmp_path / "libcudart.so.12"
    source.write_text(RUNTIME % request.param)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    ctypes.CDLL(str(library))
    return library


def text() -> str:
    registry = CollectorRegistry()
    registry.register(DeviceMemory())
    return generate_latest(registry).decode()


@pytest.mark.parametrize("runtime", [0], indirect=True)
def test_the_memory_is_read_from_the_loaded_runtime(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(runtime) in line
    ]
    (tmp_path / "maps").write_text("\n".join(lines))
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "maps")
    assert device_memory() == (3000, 4000)
    assert 'pastiche_device_memory_bytes{kind="used"} 3000.0' in text()


@pytest.mark.parametrize("runtime", [100], indirect=True)
def test_without_a_gpu_there_is_no_series(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "maps").write_text(f"7f00-7f01 r-xp 00000000 08:01 1    {runtime}\n")
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "maps")
    assert device_memory() is None
    assert "pastiche_device_memory_bytes" not in text()


def test_the_runtime_is_never_loaded_for_this(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "maps").write_text("7f00-7f01 r-xp 00000000 08:01 1    /usr/lib/libc.so.6\n")
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "maps")
    assert device_memory() is None
    monkeypatch.setattr(memory, "_MAPS", tmp_path / "no such file")
    assert device_memory() is None
