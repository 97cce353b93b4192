from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from app.engine.devices import onnx_runtime
from app.engine.devices.device import CPU, CUDA, Device
from app.engine.devices.onnx_runtime import OnnxSession, cuda_device
from app.errors import DeviceUnavailable, InferenceFailed, ModelFolderError, OutOfMemory
from app.model_folder import read_folder

ON_CPU = Device("cpu", CPU, "float32", 1)


def test_the_identity_graph_is_valid() -> None:
    session = OnnxSession(onnx_runtime._identity_graph(), ON_CPU)
    assert session.run(x=np.array([3.0], np.float32)) == np.array([3.0])


def test_a_session_on_another_provider_is_an_error() -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built with CUDA")
    with pytest.raises((DeviceUnavailable, ModelFolderError)):
        OnnxSession(onnx_runtime._identity_graph(), Device("cuda", CUDA, "float16"))


def test_an_error_while_loading_names_the_graph() -> None:
    with pytest.raises(ModelFolderError, match="tiny/stylize"):
        OnnxSession(b"not a graph", ON_CPU, "tiny/stylize")


def test_an_error_while_running_is_translated_to_inference_failed(models: Path) -> None:
    session = OnnxSession(read_folder(models / "tiny").graph("stylize"), ON_CPU)
    with pytest.raises(InferenceFailed):
        session.run(image=np.zeros((1, 20, 20, 3), np.uint8), style=np.zeros((1, 3), np.float32))


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
    picked = cuda_device(mebibytes)
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
        cuda_device()
    assert "/usr" not in str(caught.value)
    assert "CUDA failure 100" in caplog.text
