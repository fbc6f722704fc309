"""train.precision, resolved."""

from __future__ import annotations

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.engine.precision import Precision

CPU = torch.device("cpu")


def test_fp16_on_a_cpu_is_refused_with_the_alternatives() -> None:
    with pytest.raises(UserError, match="use auto, bf16 or fp32"):
        Precision.resolve("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_run_in_the_precision_asked_for(name: str, dtype: torch.dtype) -> None:
    with Precision.resolve(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_only_fp16_scales_its_gradients() -> None:
    assert not Precision("bf16", CPU).gradient_scaler().is_enabled()
    assert not Precision("fp32", CPU).gradient_scaler().is_enabled()
