import pytest
import torch

from app.errors import DeviceUnavailable
from training.fit.device import autocast, device_name, fast_type, pick_device, rank_and_world_size
from training.fit.muon import orthogonalised

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "dtype"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32)]
)
def test_a_cpu_computes_in_bfloat16_only_with_hardware_support(
    capability: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert fast_type(CPU) == dtype
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    values = torch.linalg.svdvals(orthogonalised(torch.randn(8, 20)))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_computes_in_bfloat16_only_without_emulation(
    has: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return has or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert fast_type(torch.device("cuda")) == dtype


def test_auto_takes_the_cpu_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == CPU
    with pytest.raises(DeviceUnavailable, match="use --device cpu"):
        pick_device("cuda")


def test_a_cpu_is_named_with_its_threads() -> None:
    assert device_name(CPU).startswith(f"CPU, {torch.get_num_threads()} threads, ")


def test_without_a_process_group_the_rank_is_0_of_1() -> None:
    assert rank_and_world_size() == (0, 1)
