import pytest

from app.engine.devices.device import CPU, CUDA, Device, is_out_of_memory


def test_batches_are_smaller_on_a_cpu_than_on_a_gpu() -> None:
    assert Device("cpu", CPU, "float32").batch_pixels == 131_072
    assert Device("cuda", CUDA, "float16").batch_pixels == 1_100_000


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer"), True),
        (RuntimeError("Available memory of 5 is smaller than requested bytes of 6"), True),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc"), True),
        (RuntimeError("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("[CPU] Failed to allocate 1125899906842624 bytes of memory"), True),
        (RuntimeError("CUDA failure 700: an illegal memory access was encountered"), False),
        (RuntimeError("Got invalid dimensions for input: style"), False),
    ],
)
def test_messages_of_out_of_memory_errors_are_recognised(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory
