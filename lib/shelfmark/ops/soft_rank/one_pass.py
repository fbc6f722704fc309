"""A loss whose gradient is found together with its value. Legend: Q queries, G gallery rows, D embedding.

A loss is one number: its gradient can be summed up while its value is, and only the gradient is kept for the backward
pass.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from shelfmark.ops.similarity import full_precision
from shelfmark.ops.soft_rank.ranking import Ranking


class Engine(Protocol):
    """A sum over the queries of a ranking."""

    def total(self, query_gradient: Tensor | None, gallery_gradient: Tensor | None) -> Tensor:
        """The sum, 0-dim. Its gradients are added to (Q, D) and (G, D), where given; both may be the same tensor."""


def one_pass_total(ranking: Ranking, engine: Engine) -> Tensor:
    """The engine's total, 0-dim, in the graph of the ranking's vectors; in full precision, without autocast.

    NotImplementedError: a second derivative.
    """
    # A function's `needs_input_grad` does not know of no_grad.
    ranking = ranking if torch.is_grad_enabled() else ranking.detached()
    return _OnePassTotal.apply(ranking.query, None if ranking.one_batch else ranking.gallery, engine)


class _OnePassTotal(torch.autograd.Function):
    """gallery: None where the queries are the gallery; the gradients of the two parts then share one tensor."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, gallery: Tensor | None, engine: Engine) -> Tensor:
        wants_query, wants_gallery = ctx.needs_input_grad[:2]
        query_gradient = torch.zeros_like(query) if wants_query else None
        gallery_gradient = torch.zeros_like(gallery) if gallery is not None and wants_gallery else None
        with full_precision(query.device):
            total = engine.total(query_gradient, query_gradient if gallery is None else gallery_gradient)
        ctx.save_for_backward(query_gradient, gallery_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "the soft-rank losses have no second derivative (a backward pass with create_graph=True reached one):"
                " leave them out of the gradient penalty, or use shelfmark.ops.soft_rank.reference on small batches."
            )
        query_gradient, gallery_gradient = ctx.saved_tensors
        return _scaled(query_gradient, upstream[0]), _scaled(gallery_gradient, upstream[0]), None


def _scaled(gradient: Tensor | None, factor: Tensor) -> Tensor | None:
    return None if gradient is None else gradient * factor
