"""The memory of the GPU, as the CUDA runtime that ONNX Runtime has loaded tells it."""

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_MAPS = Path("/proc/self/maps")


class DeviceMemory(Collector):
    """`pastiche_device_memory_bytes`, asked for at each scrape; no series without a GPU."""

    def __init__(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not ask the device."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Bytes by `kind`: `used`, by whomever, and `total`."""
        if found := device_memory():
            used, total = found
            gauge = GaugeMetricFamily(
                "pastiche_device_memory_bytes", "Memory of the GPU.", labels=["kind"]
            )
            gauge.add_metric(["used"], used)
            gauge.add_metric(["total"], total)
            yield gauge


def device_memory() -> tuple[int, int] | None:
    """Bytes used and in all of the current GPU; None where no CUDA runtime is loaded or works."""
    library = _loaded_runtime()
    if library is None:
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if ctypes.CDLL(library).cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) != 0:
        return None
    return total.value - free.value, total.value


def _loaded_runtime() -> str | None:
    # Only one that is there already: a server on a CPU must not begin to use a GPU for this.
    try:
        found = re.search(r"/\S*/libcudart[^/\s]*\.so[^/\s]*$", _MAPS.read_text(), re.MULTILINE)
    except OSError:  # no Linux
        return None
    return found[0] if found else None
