"""The arithmetic in which a device fits fastest."""

from contextlib import AbstractContextManager

import torch


def fast_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it, else float32: emulated it is many times slower."""
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bfloat16 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return torch.bfloat16 if has_bfloat16 else torch.float32


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions and products in the fast type, what needs more range or digits in float32."""
    dtype = fast_type(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
