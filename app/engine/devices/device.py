"""What a device and a session are, whatever the runtime."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...errors import InferenceFailed, ModelFolderError, OutOfMemory, PasticheError

log = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
OPENVINO = "OpenVINO"

# Pixels. On a CPU, batching larger pictures is no faster than painting them one by one.
GPU_BATCH, CPU_BATCH = 1_100_000, 131_072

# Messages of the runtimes' arenas, CUDA, cuDNN, cuBLAS and malloc; no exception type marks them.
_OUT_OF_MEMORY = (
    "available memory of",
    "out of memory",
    "bfcarena",
    "bfc_arena",
    "cuda error 2:",
    "cuda failure 2:",
    "status_alloc_failed",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
)


@dataclass(frozen=True)
class Device:
    """A device, what runs its sessions, and the precision it computes in.

    provider: an execution provider of ONNX Runtime, or OPENVINO.
    """

    name: str
    provider: str
    precision: str
    threads: int = 0  # of one inference on a CPU; 0 uses every core
    memory: int = 0  # limit of each graph's arena on a GPU, MiB; 0 means no limit

    def __str__(self) -> str:
        return f"{self.name};provider={self.provider};precision={self.precision}"

    @property
    def batch_pixels(self) -> int:
        """Pixels in a batch beyond which batching gains nothing."""
        return GPU_BATCH if self.provider == CUDA else CPU_BATCH

    @property
    def half(self) -> bool:
        """Whether to load the half-precision graph."""
        return self.provider == CUDA


class Session(Protocol):
    """A graph that is loaded on a device. Several threads can run it."""

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Run the graph on its named inputs and return its only output.

        Raises InferenceFailed, OutOfMemory.
        """


OpenSession = Callable[[bytes, Device, str], Session]
"""Loads a graph, given its bytes, the device and a name for messages, as `open_session` does."""


def load_error(error: Exception, runtime: str, name: str, device: Device) -> PasticheError:
    """Return what to raise if a runtime cannot load the graph `name`.

    ModelFolderError, or OutOfMemory.
    """
    if is_out_of_memory(error):
        log.error("%s: %s", name, error)
        return OutOfMemory("the device has no memory left for the network")
    return ModelFolderError(f"{name}: {runtime} cannot load it on {device}: {error}")


def run_error(error: Exception) -> PasticheError:
    """Return what to raise if a runtime cannot run a graph: InferenceFailed, or OutOfMemory."""
    log.error("inference failed: %s", error)
    if is_out_of_memory(error):
        return OutOfMemory("the device has no memory left for this picture")
    return InferenceFailed("the network could not paint this image")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of a runtime says that the device's memory does not suffice."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(part in message for part in _OUT_OF_MEMORY)
