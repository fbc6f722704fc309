"""Which implementation computes a soft-rank loss. Legend: Q queries, G gallery rows, D embedding."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core import log
from shelfmark.ops.soft_rank import chunked, programs, reference, triton
from shelfmark.ops.soft_rank.ranking import Ranking

Implementation = Literal["auto", "reference", "chunked", "triton"]

SoftRankTotal: TypeAlias = Callable[[Ranking], tuple[Tensor, int]]
"""The `soft_rank_total` of one implementation, for a ranking that was checked and whose rows all have labels."""

_TOLERANCE = 1e-4
"""Relative. float32's own rounding is a fiftieth of it; products in TF32 miss it by a factor of four at least."""


def chosen_implementation(name: Implementation, ranking: Ranking) -> SoftRankTotal:
    """The function of the named implementation, or of the fastest that is right on the device of the queries.

    `auto` is `triton` on a CUDA device where a trial, on the first call, shows that it agrees with `chunked`. Elsewhere
    it is `chunked`, and so it is at temperatures too small for similarities in float32. float64 always takes `chunked`.
    UserError: `triton` is named and cannot run.
    """
    query = ranking.query
    if name not in get_args(Implementation):
        raise ValueError(f"implementation={name!r} is not one of: {', '.join(get_args(Implementation))}")
    if name == "reference":
        return reference.soft_rank_total
    if name == "triton":
        programs.require(query.device)
    may_use_kernels = query.is_cuda and ranking.temperature >= chunked.FINE_TEMPERATURE
    uses_kernels = name == "triton" or (name == "auto" and may_use_kernels and _agrees(query.device, query.shape[1]))
    return triton.soft_rank_total if uses_kernels and query.dtype == torch.float32 else chunked.soft_rank_total


@functools.cache
def _agrees(device: torch.device, dim: int) -> bool:
    """Whether the kernels run on the device, for vectors of `dim` dimensions, and are right; warns where not."""
    try:
        difference = largest_difference(triton.soft_rank_total, device, dim)
        reason = "" if difference < _TOLERANCE else f"they differ from torch's result by {difference:.1e} of it"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        log.warn(f"the ranking losses do without Triton's kernels on {device}, which makes them slower: {reason}")
    return not reason


def largest_difference(implementation: SoftRankTotal, device: torch.device, dim: int) -> float:
    """The largest relative difference between an implementation in float32 and `chunked` in float64.

    Totals and gradients of small ragged cases are compared.
    """
    differences = []
    for one_batch in (True, False):
        ours = _small_case(implementation, device, dim, torch.float32, one_batch)
        theirs = _small_case(chunked.soft_rank_total, device, dim, torch.float64, one_batch)
        differences += [(our - their).norm() / their.norm() for our, their in zip(ours, theirs)]
    return float(torch.stack(differences).max())


@torch.inference_mode(False)
@torch.enable_grad()
def _small_case(
    implementation: SoftRankTotal, device: torch.device, dim: int, dtype: torch.dtype, one_batch: bool
) -> list[Tensor]:
    """Total and gradients for 150 random vectors in classes of 1 to 60; all vectors are queries, or every second."""
    generator = torch.Generator().manual_seed(0)
    vectors = normalize(torch.randn(150, dim, generator=generator, dtype=torch.float64)).to(device, dtype)
    sizes = torch.tensor([1, 2, 3, 5, 8, 13, 21, 37, 60])
    labels = torch.arange(len(sizes)).repeat_interleave(sizes)[torch.randperm(150, generator=generator)].to(device)
    rows = torch.arange(150, device=device)
    gallery = vectors.requires_grad_()
    query, own = (gallery, rows) if one_batch else (vectors.detach()[::2].requires_grad_(), rows[::2])
    total, _ = implementation(Ranking(query, labels[own], gallery, labels, own, _Imprecision(), temperature=0.005))
    return [total.detach(), *torch.autograd.grad(total, [gallery] if one_batch else [query, gallery])]


class _Imprecision:
    """1 - rank / (rank + ahead): it depends on all that a score may depend on."""

    uses_rank = True
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead / (rank + ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return rank / (rank + ahead).square(), -ahead / (rank + ahead).square()
