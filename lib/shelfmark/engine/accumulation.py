"""Gradient accumulation: what each part of a batch counts in the loss of the whole. Legend: N rows of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.engine.terms import LossTerm


def shares_of_parts(terms: Sequence[LossTerm], labels: Tensor, num_parts: int, step: int) -> list[Mapping[str, Tensor]]:
    """For each part of this process's rows the share of it in each loss, 0-dim, by the loss's name.

    A loss that adds over rows is a sum divided by what its `divisor` says of the labels. So the loss of the batch is
    that of the parts, each times its divisor, over the divisor of the batch; parts and batch are those of all
    processes. Where nothing in the batch counts, all parts have the same share. labels: (N,) or, mixed, (N, C). One
    part has no shares: it is the batch.
    """
    if num_parts == 1:
        return [{}]
    parts = labels.tensor_split(num_parts)
    divisors = torch.stack([torch.stack([term.divisor(part, step).double() for part in parts]) for term in terms])
    divisors = dist.sum_over_ranks(divisors)
    totals = divisors.sum(1, keepdim=True)
    shares = torch.where(totals > 0, divisors / totals, 1 / num_parts)
    return [{term.name: share for term, share in zip(terms, column)} for column in shares.unbind(1)]
