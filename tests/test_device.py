import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from app import device
from app.card import read_folder
from app.device import CPU, CUDA, OPENVINO, Device, Session, pick_device
from app.errors import DeviceUnavailable, InferenceFailed, ModelFolderError

ON_CPU = Device("cpu", CPU, "float32", 1)


def openvino_offers_a_cpu() -> bool:
    return bool(device._openvino_devices())


def test_the_plain_cpu_provider_can_be_named() -> None:
    assert pick_device("cpu", threads=1) == ON_CPU


def test_auto_takes_the_first_that_works() -> None:
    picked = pick_device("auto")
    if CUDA in ort.get_available_providers():
        assert picked.provider in (CUDA, OPENVINO, CPU)
    else:
        assert picked.provider == (OPENVINO if openvino_offers_a_cpu() else CPU)


@pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="this ONNX Runtime is built with CUDA"
)
def test_cuda_is_required_when_it_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match="gpu extra"):
        pick_device("cuda")


def test_openvino_is_required_when_it_is_named() -> None:
    if openvino_offers_a_cpu():
        assert pick_device("openvino").provider == OPENVINO
    else:
        with pytest.raises(DeviceUnavailable, match="OpenVINO"):
            pick_device("openvino")


def test_without_the_openvino_package_there_is_no_openvino_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
    device._openvino_devices.cache_clear()
    try:
        assert device._openvino_devices() == ()
        assert pick_device("auto").provider in (CPU, CUDA)
    finally:
        device._openvino_devices.cache_clear()


def test_the_smallest_graph_is_a_real_one() -> None:
    session = Session(device._identity_graph(), ON_CPU)
    assert session.run(x=np.array([3.0], np.float32)) == np.array([3.0])


def test_a_session_that_got_another_provider_is_refused() -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("the cuda provider is there, so asking for it is no wrong claim")
    with pytest.raises((DeviceUnavailable, ModelFolderError)):
        Session(device._identity_graph(), Device("cuda", CUDA, "float16"))


def test_what_the_runtime_raises_at_loading_names_the_graph() -> None:
    with pytest.raises(ModelFolderError, match="tiny/stylize"):
        Session(b"no graph", ON_CPU, "tiny/stylize")


def test_what_the_runtime_raises_while_running_becomes_inference_failed(models: Path) -> None:
    session = Session(read_folder(models / "tiny").graph("stylize"), ON_CPU)
    with pytest.raises(InferenceFailed):
        session.run(image=np.zeros((1, 20, 20, 3), np.uint8), style=np.zeros((1, 3), np.float32))


@pytest.mark.skipif(not openvino_offers_a_cpu(), reason="OpenVINO offers no CPU device here")
def test_openvino_paints_what_the_plain_provider_paints(models: Path) -> None:
    folder = read_folder(models / "tiny")
    image = np.random.default_rng(0).integers(0, 256, (2, 37, 50, 3), dtype=np.uint8)
    style = np.stack([style.vector for style in list(folder.styles.values())[:2]])
    for graph in ("stylize", "freeze"):
        plain, fast = (
            Session(folder.graph(graph), d).run(image=image, style=style)
            for d in (ON_CPU, pick_device("openvino"))
        )
        assert np.abs(plain.astype(float) - fast).mean() < 2
