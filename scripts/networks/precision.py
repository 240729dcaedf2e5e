"""In which precision networks compute: bfloat16 where the processor has it, float32 elsewhere."""

from __future__ import annotations

from functools import cache

import torch

# Names in `torch.cpu.get_capabilities()`, of x86 and of ARM.
BFLOAT16_CAPABILITIES = ("avx512_bf16", "amx_bf16", "bf16")


def autocast(device: torch.device, wanted: bool) -> torch.autocast:
    """A context for a network: bfloat16 if it is wanted and the processor computes in it.

    One that does not has to imitate bfloat16, which takes longer than float32.

    Args:
        device: of the network.
        wanted: False takes float32 everywhere.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_in_bfloat16(device.type))


@cache
def computes_in_bfloat16(device_type: str) -> bool:
    """Whether processors of a sort ("cpu", "cuda") have instructions for bfloat16 here."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        if not hasattr(torch.cpu, "get_capabilities"):  # an older torch does not say
            return True
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in BFLOAT16_CAPABILITIES)
    return True
