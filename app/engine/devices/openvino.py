"""Sessions of OpenVINO. The only module that imports it; it translates its exceptions."""

import sys
import threading
from typing import Any

import numpy as np

from ...errors import DeviceUnavailable
from .device import OPENVINO, Device, load_error, run_error

# Importing OpenVINO reports the import to its makers, unless this package is missing.
_TELEMETRY = "openvino_telemetry"
_absent = _TELEMETRY not in sys.modules
if _absent:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # its import fails
try:
    import openvino
except ModuleNotFoundError as error:
    raise DeviceUnavailable(
        "OpenVINO is not installed; the cpu extra installs it on x86-64"
    ) from error
finally:
    if _absent:
        del sys.modules[_TELEMETRY]

_CORE = openvino.Core()


def openvino_device(threads: int = 0) -> Device:
    """Return the CPU, in bfloat16 if its instructions compute it, else in float32."""
    # The list of capabilities also names types that OpenVINO emulates; its default does not.
    fast = _CORE.get_property("CPU", "INFERENCE_PRECISION_HINT") != openvino.Type.f32
    return Device("cpu", OPENVINO, "bfloat16" if fast else "float32", threads)


class OpenVinoSession:
    """A session of OpenVINO on the CPU."""

    def __init__(self, graph: bytes, device: Device, name: str = "graph") -> None:
        """Load a graph; `name` identifies it in messages.

        Raises ModelFolderError if the runtime cannot load it, OutOfMemory.
        """
        config = {
            "INFERENCE_PRECISION_HINT": "bf16" if device.precision == "bfloat16" else "f32",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other processes have the same cores
        }
        if device.threads:
            config["INFERENCE_NUM_THREADS"] = device.threads
        self._config, self._lock = config, threading.Lock()
        try:
            self._model = _CORE.read_model(graph)
            self._request: Any = self._new_request()
        except Exception as error:
            raise load_error(error, "OpenVINO", name, device) from error

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        """Run the graph on its named inputs and return its only output.

        Raises InferenceFailed, OutOfMemory.
        """
        try:
            with self._lock:  # a request has one set of buffers
                # A failed run leaves shapes half changed, with which later ones fail too.
                request, self._request = self._request or self._new_request(), None
                # With one thread, `infer` hides a failure and returns the output of the last run.
                request.start_async(inputs)
                request.wait()
                output: np.ndarray = request.get_output_tensor(0).data.copy()
                self._request = request
        except Exception as error:
            raise run_error(error) from error
        return output

    def _new_request(self) -> openvino.InferRequest:
        return _CORE.compile_model(self._model, "CPU", self._config).create_infer_request()
