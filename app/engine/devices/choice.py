"""Which device to use, and how to open a session on it."""

import logging

from ...errors import DeviceUnavailable
from ...settings import DeviceName
from .device import OPENVINO, Device, Session
from .onnx_runtime import OnnxSession, cpu_device, cuda_device

log = logging.getLogger(__name__)

ORDER: tuple[DeviceName, ...] = ("cuda", "openvino", "cpu")


def pick_device(wanted: DeviceName = "auto", threads: int = 0, gpu_memory: int = 0) -> Device:
    """Return the named device, or with "auto" the first of cuda, openvino and cpu that is of use.

    OpenVINO is of use if the CPU computes in bfloat16; otherwise ONNX Runtime is as fast.

    threads: of one inference on a CPU; 0 uses every core. gpu_memory: limit of each graph's arena
    on a GPU in MiB; 0 means no limit. Raises DeviceUnavailable if a named device does not work.
    """
    if wanted != "auto":
        return _find_device(wanted, threads, gpu_memory)
    for name in ORDER:
        try:
            device = _find_device(name, threads, gpu_memory)
            _require_use(device)
        except DeviceUnavailable as error:
            log.info("not using %s: %s", name, error)
        else:
            return device
    raise AssertionError("the cpu provider is always available")


def refusals(device: Device) -> dict[str, str]:
    """Return why `auto` does not pick each device that it prefers to this one, by its name."""
    found: dict[str, str] = {}
    for name in ORDER:
        try:
            candidate = _find_device(name, device.threads, device.memory)
            if candidate.provider == device.provider:
                break
            _require_use(candidate)
        except DeviceUnavailable as error:
            found[name] = str(error)
        else:
            found[name] = "it works, but another device was asked for"
    return found


def open_session(graph: bytes, device: Device, name: str = "graph") -> Session:
    """Load a graph on a device; `name` identifies it in messages.

    Raises ModelFolderError if the runtime cannot load it, OutOfMemory, or DeviceUnavailable if the
    session would run on another device.
    """
    if device.provider == OPENVINO:
        from .openvino import OpenVinoSession

        return OpenVinoSession(graph, device, name)
    return OnnxSession(graph, device, name)


def _find_device(name: DeviceName, threads: int, gpu_memory: int) -> Device:
    if name == "cuda":
        return cuda_device(gpu_memory)
    if name == "openvino":
        from .openvino import openvino_device  # raises DeviceUnavailable if it is not installed

        return openvino_device(threads)
    return cpu_device(threads)


def _require_use(device: Device) -> None:
    if device.provider == OPENVINO and device.precision == "float32":
        raise DeviceUnavailable(
            "this CPU has no bfloat16, without which OpenVINO is no faster than ONNX Runtime"
        )
