"""Log-sum-exp over some entries of each row, and log(1 + exp). Legend: N rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_log_sum_exp(logits: Tensor, keep: Tensor) -> Tensor:
    """log of the sum of exp(logits) over the kept entries: (N, entries) to (N,); -inf for a row that keeps none.

    logits: finite. keep: (N, entries) bool. The gradient is the softmax over the kept entries; 0 in a row that keeps
    none.
    """
    keeps_any = keep.any(1)
    # Rows that keep none stay as they are: logsumexp over nothing but -inf has a gradient of NaN.
    kept = logits.masked_fill(~keep & keeps_any[:, None], -math.inf)
    return torch.logsumexp(kept, 1).masked_fill(~keeps_any, -math.inf)


def log1p_exp(x: Tensor) -> Tensor:
    """log(1 + exp(x)), with all digits wherever x lies: 0 at -inf. torch's softplus returns x itself beyond 20."""
    return torch.logaddexp(x, x.new_zeros(()))
