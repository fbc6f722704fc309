"""The nearest gallery vectors of each query. Legend: Q queries, G gallery, D embedding, K neighbours.

Whatever the engine, the device and the blocks: neighbours come by falling score, and of equal scores the
lower gallery row comes first, at the last place too. A score is summed in float64 and rounded to the
vectors' dtype, so it depends on the two vectors alone. The engines propose a few candidates more than k by float32
products. While the worst candidate still equals the k-th neighbour, more are asked for, so that any number of
duplicates is ordered right. Only one case is left to chance: more than 8 vectors around the last place that differ by
less than float32 products can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array
from shelfmark.retrieval import exact, faiss_exact, faiss_module
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.vectors import Ids, comparable, id_codes

A = TypeVar("A", np.ndarray, Tensor)
_BLOCK_QUERIES = 4096
_BLOCK_CANDIDATES = 1 << 22
_SPARE_CANDIDATES = 8
# With fewer, faiss measured up to 10 times slower than torch on two CPU cores; with more, about equal.
_MANY_QUERIES = 256


def search(
    query: A,
    gallery: Array,
    k: int,
    engine: str = "auto",
    query_ids: Ids | None = None,
    gallery_ids: Ids | None = None,
    metric: str = "dot",
) -> Neighbours[A]:
    """The k nearest gallery rows of each query, with K = k: numpy for a numpy query, else torch.

    query (Q, D), gallery (G, D): numpy or torch. metric: `dot` of the vectors as they are, `cosine`, or
    `euclidean`, whose score is the negative distance. With both ids given, a gallery vector with the query's
    own id is never its neighbour; a duplicate of it under another id is. engine: `faiss` (CPU), `torch` (the
    query's device), `auto`.
    """
    if k < 1:
        raise UserError(f"k={k}: ask for at least one neighbour.")
    if (query_ids is None) != (gallery_ids is None):
        raise UserError("Give query_ids and gallery_ids, or neither: a query is known in the gallery by its id.")
    ready_query, ready_gallery = comparable(query, gallery, metric)
    codes = None
    if query_ids is not None and gallery_ids is not None:
        numbers = id_codes(query_ids, gallery_ids, len(ready_query), len(ready_gallery))
        codes = tuple(torch.from_numpy(side).to(ready_query.device) for side in numbers)
    propose = _engine(engine, ready_query)
    problem = _Problem(ready_query, ready_gallery, min(k, len(ready_gallery)), metric, propose, codes)
    scores = ready_query.new_full((len(ready_query), k), -torch.inf)
    rows = torch.full((len(ready_query), k), -1, dtype=torch.int64, device=ready_query.device)
    if problem.k:
        everyone = torch.arange(len(scores), device=rows.device)
        _solve(problem, everyone, problem.k + _SPARE_CANDIDATES, scores, rows)
    return Neighbours(scores.numpy(), rows.numpy()) if isinstance(query, np.ndarray) else Neighbours(scores, rows)


def exact_neighbours(units: Tensor, k: int) -> Neighbours[Tensor]:
    """Each vector's K = min(k, N - 1) nearest others within one set, by cosine.

    units: (N, D) of length 1, or 0. A vector is left out of its own list by its row, so that duplicates of it stay.
    """
    k = min(k, len(units) - 1)
    if k < 1:
        nobody = torch.empty(len(units), 0, dtype=torch.int64, device=units.device)
        return Neighbours(units.new_empty(len(units), 0), nobody)
    ids = torch.arange(len(units))
    return search(units, units, k, query_ids=ids, gallery_ids=ids)


@dataclass(frozen=True)
class _Problem:
    """codes: (Q,) and (G,) ids as numbers; None where nothing is excluded."""

    query: Tensor
    gallery: Tensor
    k: int
    metric: str
    propose: Callable[[Tensor, Tensor, int, str], Tensor]
    codes: tuple[Tensor, ...] | None


def _engine(name: str, query: Tensor) -> Callable[[Tensor, Tensor, int, str], Tensor]:
    choose("engine", name, ("auto", "faiss", "torch"))
    if name == "auto":
        fits = query.device.type == "cpu" and len(query) >= _MANY_QUERIES and faiss_module.is_installed()
        name = "faiss" if fits else "torch"
    return faiss_exact.best_rows if name == "faiss" else exact.best_rows


def _solve(problem: _Problem, queries: Tensor, width: int, scores: Tensor, rows: Tensor) -> None:
    """Fills scores and rows of the given queries from `width` candidates each, and more where they are needed."""
    width = min(width, len(problem.gallery))
    for part in queries.split(max(1, min(_BLOCK_QUERIES, _BLOCK_CANDIDATES // width))):
        best, order, is_settled = _first_k(problem, part, width)
        scores[part, : problem.k], rows[part, : problem.k] = best, order
        if not is_settled.all():
            _solve(problem, part[~is_settled], 16 * width, scores, rows)


def _first_k(problem: _Problem, queries: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    query = problem.query[queries]
    # Candidates in row order and a stable sort by score: of equal scores the lower row comes first.
    candidates = problem.propose(query, problem.gallery, width, problem.metric).sort(dim=1).values
    scores = exact.pair_scores(query, problem.gallery, candidates, problem.metric)
    worst = scores.amin(dim=1)
    if problem.codes is not None:
        is_own = problem.codes[1][candidates] == problem.codes[0][queries, None]
        worst = scores.masked_fill(is_own, torch.inf).amin(dim=1)
        scores, candidates = scores.masked_fill(is_own, -torch.inf), candidates.masked_fill(is_own, -1)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    # Also false where fewer than k candidates are left without the query's own rows: then more are needed too.
    is_settled = worst < scores[:, problem.k - 1]
    if width == len(problem.gallery):
        is_settled = torch.ones_like(is_settled)
    return scores[:, : problem.k], candidates.gather(1, order)[:, : problem.k], is_settled
