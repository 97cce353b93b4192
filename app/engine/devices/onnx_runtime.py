"""Sessions of ONNX Runtime. The only module that imports it; it translates its exceptions."""

import logging
from typing import Any

import numpy as np

from ...errors import DeviceUnavailable, ModelFolderError, OutOfMemory
from ..heap import keep_memory
from .device import CPU, CUDA, Device, load_error, run_error

try:
    import onnxruntime as ort
except ModuleNotFoundError as error:
    raise DeviceUnavailable(
        "ONNX Runtime is not installed: pip install 'pastiche-server[cpu]', "
        "or 'pastiche-server[gpu]' for an NVIDIA GPU"
    ) from error

log = logging.getLogger(__name__)


def cuda_device(memory: int = 0) -> Device:
    """Return the GPU. memory: limit of each graph's arena, MiB; 0 means no limit.

    Raises DeviceUnavailable if no graph runs there.
    """
    if CUDA not in ort.get_available_providers():
        raise DeviceUnavailable("this ONNX Runtime has no CUDA support; install the gpu extra")
    ort.preload_dlls()
    device = Device("cuda", CUDA, "float16", memory=memory)
    # The provider's library is loaded with the first session, so load a minimal graph.
    try:
        OnnxSession(_identity_graph(), device)
    except (ModelFolderError, DeviceUnavailable, OutOfMemory) as error:
        log.warning("CUDA does not work: %s", error)
        raise DeviceUnavailable("CUDA is installed but finds no working GPU") from error
    return device


def cpu_device(threads: int = 0) -> Device:
    """Return the CPU with ONNX Runtime's own provider."""
    return Device("cpu", CPU, "float32", threads)


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
            raise load_error(error, "ONNX Runtime", name, device) from error
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
            raise run_error(error) from error
        return output


def _session_options(device: Device) -> tuple[Any, list[Any]]:
    """The SessionOptions and the list of providers for a device."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = device.threads
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
