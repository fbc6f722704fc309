"""The precision of a run's arithmetic: torch.amp in place of NVIDIA apex."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from shelfmark.core.devices import has_bf16_instructions, has_fast_bf16
from shelfmark.core.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A resolved `train.precision`: never `auto`."""

    name: str
    device: torch.device

    @classmethod
    def resolve(cls, name: str, device: torch.device, trained_in: str = "") -> Precision:
        """`auto` is bf16 on a GPU that has it; on a CPU that of the training, if the CPU computes with it.

        trained_in: name of the precision in which the weights were trained; empty where that is not known, and on a CPU
        `auto` is then bf16 with AMX, else fp32.
        """
        if name == "auto":
            on_cpu = device.type == "cpu" and trained_in in ("bf16", "fp32")
            is_fast = has_bf16_instructions() and trained_in == "bf16" if on_cpu else has_fast_bf16(device)
            name = "bf16" if is_fast else "fp32"
        if name == "fp16" and device.type == "cpu":
            raise UserError("train.precision=fp16 needs a GPU; on this CPU use auto, bf16 or fp32.")
        return cls(name, device)

    def autocast(self) -> AbstractContextManager[None]:
        """A block in which matrix products and convolutions run in this precision, and sensitive operations in fp32."""
        return torch.autocast(self.device.type, dtype=DTYPES[self.name], enabled=self.name != "fp32")

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Keeps small fp16 gradients from vanishing; does nothing for bf16 and fp32."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")
