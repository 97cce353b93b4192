import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.engine.devices.device import CPU, OPENVINO, Device
from app.engine.devices.onnx_runtime import OnnxSession
from app.errors import DeviceUnavailable, InferenceFailed, ModelFolderError
from app.model_folder import read_folder
from training.fit.networks.layout import CompactLayout
from training.graphs.build import build_graph

if platform.machine() not in ("x86_64", "AMD64"):
    pytest.skip("OpenVINO is installed on x86-64 only", allow_module_level=True)

from app.engine.devices import openvino
from app.engine.devices.openvino import OpenVinoSession, openvino_device

Type = sys.modules["openvino"].Type  # importing it here would tell its makers

PLAIN = Device("cpu", OPENVINO, "float32", 1)


@pytest.mark.parametrize(
    ("precision", "difference"), [("float32", 0.01), (openvino_device().precision, 2)]
)
def test_openvino_paints_the_same_as_onnx_runtime(
    models: Path, precision: str, difference: float
) -> None:
    folder = read_folder(models / "tiny")
    image = np.random.default_rng(0).integers(0, 256, (2, 37, 50, 3), dtype=np.uint8)
    style = np.stack([style.vector for style in list(folder.styles.values())[:2]])
    for graph in ("stylize", "freeze"):
        content = folder.graph(graph)
        expected = OnnxSession(content, Device("cpu", CPU, "float32", 1))
        session = OpenVinoSession(content, Device("cpu", OPENVINO, precision, 1))
        pair = [s.run(image=image, style=style).astype(float) for s in (expected, session)]
        assert np.abs(pair[0] - pair[1]).mean() < difference


def test_the_precision_is_the_one_that_openvino_prefers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        def __init__(self, preferred: object) -> None:
            self.preferred = preferred

        def get_property(self, device: str, name: str) -> object:
            assert (device, name) == ("CPU", "INFERENCE_PRECISION_HINT")
            return self.preferred

    for preferred, precision in (("f32", "float32"), ("bf16", "bfloat16"), ("f16", "bfloat16")):
        monkeypatch.setattr(openvino, "_CORE", Core(getattr(Type, preferred)))
        assert openvino_device(3) == Device("cpu", OPENVINO, precision, 3)


def test_a_session_computes_in_the_precision_and_threads_of_its_device(models: Path) -> None:
    session = OpenVinoSession(read_folder(models / "tiny").graph("stylize"), PLAIN)
    compiled = session._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == Type.f32
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_importing_openvino_reports_nothing_to_its_makers() -> None:
    script = """
import sys
connections = []
sys.addaudithook(lambda event, args: event.startswith("socket.") and connections.append(args))
import app.engine.devices.openvino
assert "openvino" in sys.modules
assert "openvino_telemetry" not in sys.modules
assert not connections, connections
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_openvino_the_device_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "app.engine.devices.openvino")
    with pytest.raises(DeviceUnavailable, match="cpu extra"):
        __import__("app.engine.devices.openvino")
    assert "openvino_telemetry" not in sys.modules


def test_an_error_while_loading_names_the_graph() -> None:
    with pytest.raises(ModelFolderError, match="tiny/stylize"):
        OpenVinoSession(b"not a graph", PLAIN, "tiny/stylize")


def test_a_session_still_works_after_inference_failed(models: Path) -> None:
    folder = read_folder(models / "tiny")
    session = OpenVinoSession(folder.graph("stylize"), PLAIN)
    image = np.zeros((1, 20, 20, 3), np.uint8)
    with pytest.raises(InferenceFailed):
        session.run(image=image, vector=np.zeros((1, 3), np.float32))
    style = next(iter(folder.styles.values())).vector[None]
    assert session.run(image=image, style=style).shape == (1, 20, 20, 3)


def test_a_session_still_works_after_it_ran_out_of_memory(tmp_path: Path) -> None:
    network = CompactLayout(eighth_width=8, blocks=(0, 1, 0)).build()
    graph, style = tmp_path / "graph.onnx", tmp_path / "style.npy"
    graph.write_bytes(build_graph(network, "stylize").SerializeToString())
    np.save(style, network.neutral_style()[None].numpy())
    script = f"""
import resource
from pathlib import Path
import numpy as np
from app.engine.devices.device import OPENVINO, Device
from app.engine.devices.openvino import OpenVinoSession
from app.errors import OutOfMemory

graph, style = Path({str(graph)!r}).read_bytes(), np.load({str(style)!r})
for threads in (1, 2):
    session = OpenVinoSession(graph, Device("cpu", OPENVINO, "float32", threads))
    run = lambda side: session.run(image=np.zeros((1, side, side, 3), np.uint8), style=style)
    run(512)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
    try:
        run(4096)
    except OutOfMemory:
        pass
    else:
        raise AssertionError("there is memory for everything")
    assert run(512).shape == (1, 512, 512, 3)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_several_threads_can_run_a_session(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = read_folder(models / "tiny")
    session = OpenVinoSession(folder.graph("stylize"), PLAIN)
    style = next(iter(folder.styles.values())).vector[None]
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 256, 200, 3), dtype=np.uint8)
    expected = [session.run(image=image, style=style) for image in images]
    monkeypatch.setattr(session, "_new_request", None)  # one request is enough
    with ThreadPoolExecutor(4) as threads:
        painted = list(threads.map(lambda image: session.run(image=image, style=style), images))
    np.testing.assert_array_equal(painted, expected)
