"""Which arithmetic a run uses: torch.amp in place of NVIDIA apex."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from shelfmark.core.devices import has_fast_bf16
from shelfmark.core.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A resolved `train.precision`: never `auto`."""

    name: str
    device: torch.device

    @classmethod
    def resolve(cls, name: str, device: torch.device) -> Precision:
        """`auto` is bf16 on a GPU that has it and on a CPU with AMX, else fp32."""
        if name == "auto":
            name = "bf16" if has_fast_bf16(device) else "fp32"
        if name == "fp16" and device.type == "cpu":
            raise UserError("train.precision=fp16 needs a GPU; on this CPU use auto, bf16 or fp32.")
        return cls(name, device)

    def autocast(self) -> AbstractContextManager[None]:
        """A block in which matrix products and convolutions run in this precision, and sensitive operations in fp32."""
        return torch.autocast(self.device.type, dtype=DTYPES[self.name], enabled=self.name != "fp32")

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Keeps small fp16 gradients from vanishing; does nothing for bf16 and fp32."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")
