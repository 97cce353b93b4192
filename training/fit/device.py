"""The device that training runs on: choice, name, precision, process group."""

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
import torch.distributed as dist
from torch import nn

from app.errors import DeviceUnavailable


def pick_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `auto` is CUDA if PyTorch finds it.

    Under torchrun, each process gets its own GPU. Raises DeviceUnavailable.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise DeviceUnavailable("PyTorch finds no CUDA device; use --device cpu")
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(name)
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Return a name for people: the GPU's model, or the CPU's threads and architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def fast_type(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device has hardware for it, else float32: emulation is slow."""
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bfloat16 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.bfloat16 if has_bfloat16 else torch.float32


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Run convolutions and matrix products in `fast_type`, precision-sensitive ones in float32."""
    dtype = fast_type(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group if torchrun started this process; otherwise do nothing."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's rank and the number of processes; (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes; without a process group, do nothing.

    For networks of which a step uses only a part, or differentiates twice: unlike
    DistributedDataParallel, this needs the same gradients on all processes and nothing else.
    """
    if not dist.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
