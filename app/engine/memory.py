"""GPU memory, as reported by the CUDA runtime that ONNX Runtime has loaded."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_MAPS = Path("/proc/self/maps")


class DeviceMemory(Collector):
    """Collects `pastiche_device_memory_bytes` at each scrape; without a GPU there is no series."""

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not query the device."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the bytes `used`, by all processes, and `total`, as values of the label `kind`."""
        if found := device_memory():
            used, total = found
            gauge = GaugeMetricFamily(
                "pastiche_device_memory_bytes", "Memory of the GPU.", labels=["kind"]
            )
            gauge.add_metric(["used"], used)
            gauge.add_metric(["total"], total)
            yield gauge


def device_memory() -> tuple[int, int] | None:
    """Return the used and total bytes of the current GPU.

    None if no CUDA runtime is loaded or it finds no GPU.
    """
    library = _loaded_runtime()
    if library is None:
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if ctypes.CDLL(library).cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) != 0:
        return None
    return total.value - free.value, total.value


def _loaded_runtime() -> str | None:
    # Only a library that is loaded already: a server on a CPU must not start to use a GPU here.
    try:
        found = re.search(r"/\S*/libcudart[^/\s]*\.so[^/\s]*$", _MAPS.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return None
    return found[0] if found else None
