"""Where bfloat16 pays, and who asks for it."""

from __future__ import annotations

import pytest
import torch

from shelfmark.core.devices import has_fast_bf16
from shelfmark.discovery.edges import edge_precision
from shelfmark.engine.precision import Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_amx", [True, False])
def test_weights_of_unknown_precision_and_discovery_take_bfloat16_by_themselves_on_a_cpu_with_amx_alone(
    monkeypatch: pytest.MonkeyPatch, has_amx: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": has_amx, "avx512_bf16": True})
    assert has_fast_bf16(CPU) == has_amx
    assert Precision.resolve("auto", CPU).name == ("bf16" if has_amx else "fp32")
    assert edge_precision("auto", torch.zeros(1)) == (torch.bfloat16 if has_amx else torch.float32)
    assert edge_precision("auto", torch.zeros(1, dtype=torch.float64)) == torch.float64


def test_a_gpu_takes_bfloat16_where_it_need_not_emulate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not has_fast_bf16(torch.device("cuda"))
    assert not has_fast_bf16(torch.device("meta"))
