"""Devices and sessions. The only module that imports ONNX Runtime; it translates its exceptions."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from ..errors import DeviceUnavailable, InferenceFailed, ModelFolderError, OutOfMemory
from ..settings import DeviceName
from .heap import keep_memory

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

# Pixels. On a CPU, batching larger pictures is no faster than painting them one by one.
GPU_BATCH, CPU_BATCH = 1_100_000, 131_072

# Messages of ONNX Runtime's arenas, CUDA, cuDNN, cuBLAS and malloc; no exception type marks them.
_OUT_OF_MEMORY = (
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
    """A device, the execution provider of its sessions, and the precision it computes in."""

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
    """A graph that is loaded on a device."""

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Run the graph on its named inputs and return its only output.

        Raises InferenceFailed, OutOfMemory.
        """


class OnnxSession:
    """A session of ONNX Runtime."""

    def __init__(self, graph: bytes, device: Device, name: str = "graph") -> None:
        """Load a graph; `name` identifies it in messages.

        Raises ModelFolderError if the runtime cannot load it, OutOfMemory, or DeviceUnavailable if
        the session got a provider other than the device's.
        """
        options, providers = _session_options(device)
        try:
            self._session = ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # the runtime's exceptions have no common base class
            if _is_out_of_memory(error):
                log.error("%s: %s", name, error)
                raise OutOfMemory("the device has no memory left for the network") from error
            raise ModelFolderError(
                f"{name}: ONNX Runtime cannot load it on {device}: {error}"
            ) from error
        provider = self._session.get_providers()[0]
        if provider != device.provider:
            raise DeviceUnavailable(f"{name}: the session got {provider}, not {device.provider}")

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Run the graph on its named inputs and return its only output.

        Raises InferenceFailed, OutOfMemory.
        """
        try:
            output: np.ndarray = self._session.run(None, inputs)[0]
        except Exception as error:
            log.error("inference failed: %s", error)
            if _is_out_of_memory(error):
                raise OutOfMemory("the device has no memory left for this picture") from error
            raise InferenceFailed("the network could not paint this image") from error
        return output


OpenSession = Callable[[bytes, Device, str], Session]
"""Loads a graph, given its bytes, the device and a name for messages, as OnnxSession does."""


def pick_device(wanted: DeviceName = "auto", threads: int = 0, gpu_memory: int = 0) -> Device:
    """Return the named device, or with "auto" the first of cuda, openvino and cpu that works.

    threads: of one inference on a CPU; 0 uses every core. gpu_memory: limit of each graph's arena
    on a GPU in MiB; 0 means no limit. Raises DeviceUnavailable if a named device does not work.
    """
    for name in ORDER if wanted == "auto" else (wanted,):
        try:
            return _find_device(name, threads, gpu_memory)
        except DeviceUnavailable as error:
            if wanted != "auto":
                raise
            log.info("not using %s: %s", name, error)
    raise AssertionError("the cpu provider is always available")


def refusals(device: Device) -> dict[str, str]:
    """Return why each device that `auto` prefers to this one does not work, by its name."""
    found: dict[str, str] = {}
    for name in ORDER:
        try:
            candidate = _find_device(name, device.threads, device.memory)
        except DeviceUnavailable as error:
            found[name] = str(error)
            continue
        if candidate.provider == device.provider:
            break
        found[name] = "it works, but another device was asked for"
    return found


def _session_options(device: Device) -> tuple[Any, list[Any] | None]:
    """The SessionOptions and the list of providers for a device."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = device.threads
    if device.provider == OPENVINO:
        # Otherwise nodes that OpenVINO declines silently run on the CPU provider.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        config = {"INFERENCE_PRECISION_HINT": "bf16" if device.precision == "bfloat16" else "f32"}
        if device.threads:
            config["INFERENCE_NUM_THREADS"] = str(device.threads)
        load_config = json.dumps({"CPU": config})
        options.add_provider_for_devices(_openvino_devices(), {"load_config": load_config})
        return options, None
    if device.provider == CUDA:
        cuda = {
            # An exhaustive search would stall for seconds at each new image size.
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
        }
        if device.memory:
            cuda["gpu_mem_limit"] = str(device.memory * 2**20)
        return options, [(CUDA, cuda), CPU]
    # Every session has its own arena, which grows by powers of two; malloc's memory is shared.
    options.enable_cpu_mem_arena = not keep_memory()
    return options, [CPU]


def _find_device(name: str, threads: int, gpu_memory: int) -> Device:
    if name == "cuda":
        if CUDA not in ort.get_available_providers():
            raise DeviceUnavailable("this ONNX Runtime has no CUDA support; install the gpu extra")
        ort.preload_dlls()
        device = Device("cuda", CUDA, "float16", memory=gpu_memory)
        _try_cuda(device)
        return device
    if name == "openvino":
        devices = _openvino_devices()
        if not devices:
            raise DeviceUnavailable(
                "the OpenVINO provider offers no CPU device: the onnxruntime-ep-openvino package "
                "(cpu extra) is missing or does not support this CPU"
            )
        bfloat = "BF16" in devices[0].ep_metadata.get("OPTIMIZATION_CAPABILITIES", "").split()
        return Device("cpu", OPENVINO, "bfloat16" if bfloat else "float32", threads)
    return Device("cpu", CPU, "float32", threads)


def _try_cuda(device: Device) -> None:
    # The provider's library is loaded with the first session, so load a minimal graph.
    try:
        OnnxSession(_identity_graph(), device)
    except (ModelFolderError, DeviceUnavailable, OutOfMemory) as error:
        log.warning("CUDA does not work: %s", error)
        raise DeviceUnavailable("CUDA is installed but finds no working GPU") from error


def _is_out_of_memory(error: Exception) -> bool:
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(part in message for part in _OUT_OF_MEMORY)


def _identity_graph() -> bytes:
    # A ModelProto written by hand, as the server does not depend on onnx: opset 17, y = Identity(x)
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name: bytes) -> bytes:
        shape = field(2, field(1, b"\x08\x01"))
        return field(1, name) + field(2, field(1, b"\x08\x01" + shape))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11")


@cache
def _openvino_devices() -> tuple[Any, ...]:
    try:
        import onnxruntime_ep_openvino as plugin
    except ImportError:
        return ()
    if not _register_openvino(plugin.get_library_path()):
        return ()
    return tuple(
        device
        for device in ort.get_ep_devices()
        if device.ep_name == OPENVINO and device.device.type == ort.OrtHardwareDeviceType.CPU
    )


@cache
def _register_openvino(library: str) -> bool:
    # Cached, as ONNX Runtime refuses a second registration in the same process.
    try:
        ort.register_execution_provider_library(OPENVINO, library)
    except Exception as error:
        log.warning("the OpenVINO provider cannot be registered: %s", error)
        return False
    return True
