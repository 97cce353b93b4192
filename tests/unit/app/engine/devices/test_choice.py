import platform
from pathlib import Path

import onnxruntime as ort
import pytest

from app.engine.devices import choice
from app.engine.devices.choice import open_session, pick_device, refusals
from app.engine.devices.device import CPU, CUDA, OPENVINO, Device
from app.errors import DeviceUnavailable
from app.model_folder import read_folder

ON_CPU = Device("cpu", CPU, "float32", 1)
HAS_CUDA = CUDA in ort.get_available_providers()
needs_openvino = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="OpenVINO is installed on x86-64 only"
)


def offer(monkeypatch: pytest.MonkeyPatch, **precisions: str | None) -> None:
    """Let each device be found with this precision, or not at all."""

    def find(name: str, threads: int, gpu_memory: int) -> Device:
        precision = precisions[name]
        if precision is None:
            raise DeviceUnavailable(f"no {name} here")
        return Device(name, {"cuda": CUDA, "openvino": OPENVINO, "cpu": CPU}[name], precision)

    monkeypatch.setattr(choice, "_find_device", find)


def test_the_cpu_provider_can_be_named() -> None:
    assert pick_device("cpu", threads=1) == ON_CPU


@pytest.mark.parametrize(
    ("cuda", "openvino", "picked"),
    [
        ("float16", "bfloat16", "cuda"),
        (None, "bfloat16", "openvino"),
        (None, "float32", "cpu"),
        (None, None, "cpu"),
    ],
)
def test_auto_picks_the_first_device_that_is_of_use(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, openvino: str | None, picked: str
) -> None:
    offer(monkeypatch, cuda=cuda, openvino=openvino, cpu="float32")
    assert pick_device("auto").name == picked


def test_openvino_can_be_named_where_auto_does_not_pick_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, openvino="float32")
    assert pick_device("openvino").provider == OPENVINO


def test_a_refusal_says_why_each_better_device_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, cuda=None, openvino="float32", cpu="float32")
    found = refusals(pick_device("auto"))
    assert list(found) == ["cuda", "openvino"]
    assert found["cuda"] == "no cuda here"
    assert "bfloat16" in found["openvino"]
    offer(monkeypatch, cuda=None, openvino="bfloat16", cpu="float32")
    assert "another device was asked for" in refusals(pick_device("cpu"))["openvino"]
    assert list(refusals(pick_device("auto"))) == ["cuda"]


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime is built with CUDA")
def test_naming_cuda_disables_the_fallback() -> None:
    with pytest.raises(DeviceUnavailable, match="gpu extra"):
        pick_device("cuda")


@needs_openvino
def test_a_session_runs_on_the_runtime_of_its_device(models: Path) -> None:
    graph = read_folder(models / "tiny").graph("stylize")
    kinds = {name: type(open_session(graph, pick_device(name, 1))) for name in ("openvino", "cpu")}
    assert {name: kind.__name__ for name, kind in kinds.items()} == {
        "openvino": "OpenVinoSession",
        "cpu": "OnnxSession",
    }
