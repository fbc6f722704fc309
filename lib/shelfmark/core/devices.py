"""The abilities of a device."""

from __future__ import annotations

import torch


def has_fast_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster on the device than in float32: a GPU that has them, or a CPU with AMX.

    On a CPU without AMX tiles they are hardly faster, or emulated.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_tile"))


def has_bf16_instructions() -> bool:
    """Whether the CPU computes with bfloat16 itself: AMX or AVX512-BF16. Elsewhere PyTorch emulates it, slowly."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("amx_tile") or abilities.get("avx512_bf16"))
