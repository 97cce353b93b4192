import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from app.engine import device
from app.engine.device import CPU, CUDA, OPENVINO, Device, OnnxSession, pick_device
from app.errors import DeviceUnavailable, InferenceFailed, ModelFolderError, OutOfMemory
from app.model_folder import read_folder

ON_CPU = Device("cpu", CPU, "float32", 1)


def openvino_supports_this_cpu() -> bool:
    return bool(device._openvino_devices())


def test_the_cpu_provider_can_be_named() -> None:
    assert pick_device("cpu", threads=1) == ON_CPU


def test_batches_are_smaller_on_a_cpu_than_on_a_gpu() -> None:
    assert ON_CPU.batch_pixels == 131_072
    assert Device("cuda", CUDA, "float16").batch_pixels == 1_100_000


def test_auto_picks_the_first_provider_that_works() -> None:
    picked = pick_device("auto")
    if CUDA in ort.get_available_providers():
        assert picked.provider in (CUDA, OPENVINO, CPU)
    else:
        assert picked.provider == (OPENVINO if openvino_supports_this_cpu() else CPU)


@pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="this ONNX Runtime is built with CUDA"
)
def test_naming_cuda_disables_the_fallback() -> None:
    with pytest.raises(DeviceUnavailable, match="gpu extra"):
        pick_device("cuda")


def test_naming_openvino_disables_the_fallback() -> None:
    if openvino_supports_this_cpu():
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


def test_the_identity_graph_is_valid() -> None:
    session = OnnxSession(device._identity_graph(), ON_CPU)
    assert session.run(x=np.array([3.0], np.float32)) == np.array([3.0])


def test_a_session_on_another_provider_is_an_error() -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built with CUDA")
    with pytest.raises((DeviceUnavailable, ModelFolderError)):
        OnnxSession(device._identity_graph(), Device("cuda", CUDA, "float16"))


def test_an_error_while_loading_names_the_graph() -> None:
    with pytest.raises(ModelFolderError, match="tiny/stylize"):
        OnnxSession(b"not a graph", ON_CPU, "tiny/stylize")


def test_an_error_while_running_is_translated_to_inference_failed(models: Path) -> None:
    session = OnnxSession(read_folder(models / "tiny").graph("stylize"), ON_CPU)
    with pytest.raises(InferenceFailed):
        session.run(image=np.zeros((1, 20, 20, 3), np.uint8), style=np.zeros((1, 3), np.float32))


@pytest.mark.skipif(not openvino_supports_this_cpu(), reason="OpenVINO does not support this CPU")
def test_openvino_paints_the_same_as_the_cpu_provider(models: Path) -> None:
    folder = read_folder(models / "tiny")
    image = np.random.default_rng(0).integers(0, 256, (2, 37, 50, 3), dtype=np.uint8)
    style = np.stack([style.vector for style in list(folder.styles.values())[:2]])
    for graph in ("stylize", "freeze"):
        cpu, openvino = (
            OnnxSession(folder.graph(graph), d).run(image=image, style=style)
            for d in (ON_CPU, pick_device("openvino"))
        )
        assert np.abs(cpu.astype(float) - openvino).mean() < 2


def zeros(side: int) -> bytes:
    """A graph that returns zeros float32 [x, side] for its input x."""
    nodes = [
        helper.make_node("Concat", ["x", "side"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "zeros",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        [helper.make_tensor("side", TensorProto.INT64, [1], [side])],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def test_a_session_still_works_after_it_ran_out_of_memory() -> None:
    session = OnnxSession(zeros(2**20), ON_CPU)
    with pytest.raises(OutOfMemory) as caught:
        session.run(x=np.array([2**28]))  # a pebibyte
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) >= 1
    assert session.run(x=np.array([1])).shape == (1, 2**20)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer"), True),
        (RuntimeError("Available memory of 5 is smaller than requested bytes of 6"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc"), True),
        (RuntimeError("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), False),
        (RuntimeError("Got invalid dimensions for input: style"), False),
    ],
)
def test_messages_of_out_of_memory_errors_are_recognised(error: Exception, memory: bool) -> None:
    assert device._is_out_of_memory(error) is memory


@pytest.mark.parametrize(
    ("error", "expected"), [("out of memory", OutOfMemory), ("bad node", ModelFolderError)]
)
def test_running_out_of_memory_while_loading_is_not_a_model_folder_error(
    monkeypatch: pytest.MonkeyPatch, error: str, expected: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(ort, "InferenceSession", fail)
    with pytest.raises(expected):
        OnnxSession(b"", ON_CPU)


@pytest.mark.parametrize(("mebibytes", "limit"), [(0, None), (512, str(512 * 2**20))])
def test_the_memory_arena_of_a_gpu_is_limited_by_the_setting(
    monkeypatch: pytest.MonkeyPatch, mebibytes: int, limit: str | None
) -> None:
    requested: list[dict[str, str]] = []

    class Gpu:
        def __init__(self, *_: object, providers: list[tuple[str, dict[str, str]]]) -> None:
            requested.append(providers[0][1])

        def get_providers(self) -> list[str]:
            return [CUDA]

    monkeypatch.setattr(ort, "InferenceSession", Gpu)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    picked = pick_device("cuda", gpu_memory=mebibytes)
    OnnxSession(b"", picked)
    assert [options.get("gpu_mem_limit") for options in requested] == [limit, limit]


def test_the_error_for_a_broken_gpu_does_not_show_the_runtimes_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("/usr/lib/libcudart.so: CUDA failure 100")

    monkeypatch.setattr(ort, "InferenceSession", fail)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    with pytest.raises(DeviceUnavailable) as caught:
        pick_device("cuda")
    assert "/usr" not in str(caught.value)
    assert "CUDA failure 100" in caplog.text
