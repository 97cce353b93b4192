"""Where inference runs: one ordered list of providers, and what a session really got.

The one seam to ONNX Runtime: what it raises becomes an error of ours.
"""

import ctypes
import json
import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..errors import DeviceUnavailable, InferenceFailed, ModelFolderError, OutOfMemory
from ..settings import DeviceName

try:
    import onnxruntime as ort
except ModuleNotFoundError as error:
    raise DeviceUnavailable(
        "ONNX Runtime is not installed: pip install 'pastiche-server[cpu]', "
        "or 'pastiche-server[gpu]' for an NVIDIA GPU"
    ) from error

log = logging.getLogger(__name__)

OPENVINO = "OpenVINOExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
ORDER: tuple[DeviceName, ...] = ("cuda", "openvino", "cpu")

# Pixels. A CPU needs for a batch as long as for its pictures one by one, or longer.
GPU_BATCH, CPU_BATCH = 1_100_000, 131_072

# How the arenas of ONNX Runtime, CUDA, cuDNN, cuBLAS and malloc say it; there is no type for it.
_NO_MEMORY = (
    "failed to allocate memory",
    "available memory of",
    "out of memory",
    "bfcarena",
    "bfc_arena",
    "cuda error 2:",
    "cuda failure 2:",
    "status_alloc_failed",
    "bad_alloc",
    "bad allocation",
)


@dataclass(frozen=True)
class Device:
    """A place to run: its name, the provider that sessions get, the precision it computes in."""

    name: str
    provider: str
    precision: str
    threads: int = 0
    memory: int = 0  # MiB that the arena of each graph may hold on a GPU; 0 is no limit

    def __str__(self) -> str:
        return f"{self.name};provider={self.provider};precision={self.precision}"

    @property
    def batch_pixels(self) -> int:
        """Pixels of one batch beyond which nothing is gained."""
        return GPU_BATCH if self.provider == CUDA else CPU_BATCH

    @property
    def half(self) -> bool:
        """Whether the half precision graph is the one to load."""
        return self.provider == CUDA


class Session:
    """A graph on a device."""

    def __init__(self, graph: bytes, device: Device, name: str = "graph") -> None:
        """Load a graph.

        Raises ModelFolderError, OutOfMemory, or DeviceUnavailable if it runs elsewhere.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = device.threads
        providers: list[Any] | None = None
        if device.provider == OPENVINO:
            # Else nodes that OpenVINO declines run on the CPU provider, and nobody is told.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            config = {
                "INFERENCE_PRECISION_HINT": "bf16" if device.precision == "bfloat16" else "f32"
            }
            if device.threads:
                config["INFERENCE_NUM_THREADS"] = str(device.threads)
            load_config = json.dumps({"CPU": config})
            options.add_provider_for_devices(_openvino_devices(), {"load_config": load_config})
        elif device.provider == CUDA:
            cuda = {
                # An exhaustive search would stall for seconds at each new image size.
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
            }
            if device.memory:
                cuda["gpu_mem_limit"] = str(device.memory * 2**20)
            providers = [(CUDA, cuda), CPU]
        else:
            providers = [CPU]
            # Its arena grows by powers of two, one for each session; malloc shares what it keeps.
            options.enable_cpu_mem_arena = not _malloc_keeps_memory()
        try:
            self._session = ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # the runtime's exceptions share no base class of their own
            if _no_memory(error):
                log.error("%s: %s", name, error)
                raise OutOfMemory("the device has no memory left for the network") from error
            raise ModelFolderError(
                f"{name}: ONNX Runtime cannot load it on {device}: {error}"
            ) from error
        if self._session.get_providers()[0] != device.provider:
            got = self._session.get_providers()[0]
            raise DeviceUnavailable(f"{name}: the session got {got}, not {device.provider}")

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Run the graph on named inputs; its one output. Raises InferenceFailed, OutOfMemory."""
        try:
            return self._session.run(None, inputs)[0]  # type: ignore[no-any-return]
        except Exception as error:
            log.error("inference failed: %s", error)
            if _no_memory(error):
                raise OutOfMemory("the device has no memory left for this picture") from error
            raise InferenceFailed("the network could not paint this image") from error


def pick_device(wanted: DeviceName = "auto", threads: int = 0, gpu_memory: int = 0) -> Device:
    """The device that was named, or the first of cuda, openvino, cpu that is there.

    threads are for a CPU, gpu_memory in MiB for a GPU; 0 is as many, and as much, as there is.
    Raises DeviceUnavailable, saying why, if it was named and is not there.
    """
    for name in ORDER if wanted == "auto" else (wanted,):
        try:
            return _probe(name, threads, gpu_memory)
        except DeviceUnavailable as error:
            if wanted != "auto":
                raise
            log.info("not using %s: %s", name, error)
    raise AssertionError("the cpu provider is always there")


def _probe(name: str, threads: int, gpu_memory: int) -> Device:
    if name == "cuda":
        if CUDA not in ort.get_available_providers():
            raise DeviceUnavailable("this ONNX Runtime has no CUDA; install the gpu extra")
        ort.preload_dlls()
        device = Device("cuda", CUDA, "float16", memory=gpu_memory)
        _try_cuda(device)
        return device
    if name == "openvino":
        devices = _openvino_devices()
        if not devices:
            raise DeviceUnavailable(
                "the OpenVINO provider offers no CPU device here: the onnxruntime-ep-openvino "
                "package is missing (cpu extra), or it does not take this make of CPU"
            )
        bfloat = "BF16" in devices[0].ep_metadata.get("OPTIMIZATION_CAPABILITIES", "").split()
        return Device("cpu", OPENVINO, "bfloat16" if bfloat else "float32", threads)
    return Device("cpu", CPU, "float32", threads)


def _try_cuda(device: Device) -> None:
    # The provider's library loads only with the first session; a smallest graph tells.
    try:
        Session(_identity_graph(), device)
    except (ModelFolderError, DeviceUnavailable, OutOfMemory) as error:
        log.warning("CUDA does not work here: %s", error)
        raise DeviceUnavailable("CUDA is installed but finds no GPU that works") from error


def _no_memory(error: Exception) -> bool:
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(words in told for words in _NO_MEMORY)


def _identity_graph() -> bytes:
    # ModelProto, spelled out so that the server needs no onnx package: opset 17, y = Identity(x).
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name: bytes) -> bytes:
        shape = field(2, field(1, b"\x08\x01"))
        return field(1, name) + field(2, field(1, b"\x08\x01" + shape))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11")


@cache
def _malloc_keeps_memory() -> bool:
    # By default glibc returns each large block to the system and gets it back zeroed, which slows
    # large images much. Told to keep them, in one heap for all threads and none mapped on its own,
    # it needs less memory than the arenas of ONNX Runtime.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    arena_max, mmap_max, top_pad, trim_threshold = -8, -4, -2, -1  # from malloc.h
    wanted = ((arena_max, 1), (mmap_max, 0), (top_pad, 2**28), (trim_threshold, 2**30))
    return all(mallopt(name, value) == 1 for name, value in wanted)


@cache
def _openvino_devices() -> tuple[Any, ...]:
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        return ()
    if not _registered(plugin.get_library_path()):
        return ()
    return tuple(
        device
        for device in ort.get_ep_devices()
        if device.ep_name == OPENVINO and device.device.type == ort.OrtHardwareDeviceType.CPU
    )


@cache
def _registered(library: str) -> bool:
    # Once in a process: ONNX Runtime refuses a second time.
    try:
        ort.register_execution_provider_library(OPENVINO, library)
    except Exception as error:
        log.warning("the OpenVINO provider cannot be registered: %s", error)
        return False
    return True
