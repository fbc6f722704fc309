"""Triton's part of the soft-rank loss: similarity tiles that are never written.

Legend: Q queries, G gallery rows, D embedding, a multiple of block_d, P the most positives of a query.

A program has one block of queries, and of the gallery a part (`count_ahead`) or a block (`similarity_gradient`).
Tables over pairs are (P, Q); a query that does not use a place has column -1 and derivatives 0 there. Two rows have
the same class where they have the same label. Rows beyond the last are computed as the last one, and not stored.

Triton is not on every machine, and decides at its import whether it interprets: import this file within a function.
"""

from __future__ import annotations

import triton
import triton.language as tl

from shelfmark.ops.soft_rank import steps

INTERPRETS: bool = triton.knobs.runtime.interpret
"""Whether Python carries the kernels out, on any device, because TRITON_INTERPRET=1 was set before."""

_SATURATION = tl.constexpr(steps.SATURATION)

# They change from batch to batch, or strip to strip: the kernels are not compiled anew for each kind of number.
_SIZES = ["num_queries", "num_gallery", "columns_per_split", "first_row", "end_row"]


@triton.jit(do_not_specialize=_SIZES)
def count_ahead(
    query: tl.tensor,
    gallery: tl.tensor,
    query_classes: tl.tensor,
    gallery_classes: tl.tensor,
    num_positives: tl.tensor,
    positives: tl.tensor,
    ahead: tl.tensor,
    slopes: tl.tensor,
    num_queries: tl.tensor,
    num_gallery: tl.tensor,
    dim: tl.tensor,
    columns_per_split: tl.tensor,
    scale: tl.tensor,
    precision: tl.constexpr,
    block_q: tl.constexpr,
    block_m: tl.constexpr,
    block_d: tl.constexpr,
    block_p: tl.constexpr,
) -> None:
    """Writes the sums of the steps of the negatives ahead of each positive, and of the steps' slopes.

    query: (Q, D), gallery: (G, D). query_classes: (Q,), gallery_classes: (G,). num_positives: (Q,).
    positives: (P, Q) similarities. ahead, slopes: (splits, block_p, Q), to be summed over the parts of the gallery.
    scale: 1 / temperature.
    """
    rows = tl.program_id(0) * block_q + tl.arange(0, block_q)
    own = tl.minimum(rows, num_queries - 1)
    own_classes = tl.load(query_classes + own)
    most_positives = tl.max(tl.load(num_positives + own))
    place = tl.arange(0, block_p)
    counts = tl.zeros((block_q, block_p), tl.float32)
    slope_sums = tl.zeros((block_q, block_p), tl.float32)
    first = tl.program_id(1) * columns_per_split
    for begin in range(first, tl.minimum(first + columns_per_split, num_gallery), block_m):
        columns = begin + tl.arange(0, block_m)
        others = tl.minimum(columns, num_gallery - 1)
        similarity = _similarities(query, gallery, own, others, dim, precision, block_q, block_m, block_d)
        is_negative = own_classes[:, None] != tl.load(gallery_classes + others)[None, :]
        counted = is_negative & (columns < num_gallery)[None, :]
        for p in range(most_positives):
            candidates = tl.load(positives + p * num_queries + own)
            step, slope = _step((similarity - candidates[:, None]) * scale)
            is_here = place[None, :] == p
            counts += tl.where(is_here, tl.sum(tl.where(counted, step, 0.0), 1)[:, None], 0.0)
            slope_sums += tl.where(is_here, tl.sum(tl.where(counted, slope, 0.0), 1)[:, None], 0.0)
    pairs = (tl.program_id(1) * block_p + place)[None, :].to(tl.int64) * num_queries + rows[:, None]
    tl.store(ahead + pairs, counts, mask=rows[:, None] < num_queries)
    tl.store(slopes + pairs, slope_sums, mask=rows[:, None] < num_queries)


@triton.jit(do_not_specialize=_SIZES)
def similarity_gradient(
    query: tl.tensor,
    gallery: tl.tensor,
    query_classes: tl.tensor,
    gallery_classes: tl.tensor,
    num_positives: tl.tensor,
    positives: tl.tensor,
    positive_columns: tl.tensor,
    by_ahead: tl.tensor,
    by_positive: tl.tensor,
    gradient: tl.tensor,
    first_row: tl.tensor,
    end_row: tl.tensor,
    num_queries: tl.tensor,
    num_gallery: tl.tensor,
    dim: tl.tensor,
    scale: tl.tensor,
    symmetric: tl.constexpr,
    precision: tl.constexpr,
    block_q: tl.constexpr,
    block_m: tl.constexpr,
    block_d: tl.constexpr,
) -> None:
    """Writes the loss's derivatives by the similarities of the queries from `first_row` to before `end_row`.

    positive_columns: (P, Q) gallery rows. by_ahead: (P, Q), the loss's derivatives by `ahead`, over the temperature;
    by_positive: (P, Q), those by `positives`. gradient: (end_row - first_row, G). symmetric: the gallery is the
    queries, so a tile also gets the derivatives by its mirror image. The other arguments are those of `count_ahead`.
    """
    rows = first_row + tl.program_id(0) * block_q + tl.arange(0, block_q)
    columns = tl.program_id(1) * block_m + tl.arange(0, block_m)
    own, others = tl.minimum(rows, end_row - 1), tl.minimum(columns, num_gallery - 1)
    similarity = _similarities(query, gallery, own, others, dim, precision, block_q, block_m, block_d)
    is_negative = tl.load(query_classes + own)[:, None] != tl.load(gallery_classes + others)[None, :]
    # So far ahead that its step is flat: rows of the query's own class need no mask in the loops below.
    similarity = tl.where(is_negative, similarity, float("inf"))
    tile = tl.zeros((block_q, block_m), tl.float32)
    tables = (num_positives, positives, positive_columns, by_ahead, by_positive)
    tile = _add_row_gradient(tile, similarity, own[:, None], others[None, :], tables, num_queries, scale)
    if symmetric:
        tile = _add_row_gradient(tile, similarity, others[None, :], own[:, None], tables, num_queries, scale)
    places = (rows - first_row)[:, None].to(tl.int64) * num_gallery + columns[None, :]
    tl.store(gradient + places, tile, mask=(rows < end_row)[:, None] & (columns < num_gallery)[None, :])


@triton.jit
def _add_row_gradient(
    tile: tl.tensor,
    similarity: tl.tensor,
    own: tl.tensor,
    others: tl.tensor,
    tables: tl.tuple,
    num_queries: tl.tensor,
    scale: tl.tensor,
) -> tl.tensor:
    """The tile, increased by the derivatives of the losses of the queries `own`.

    own, others: rows along the tile's one axis and the other, (block_q, 1) and (1, block_m) or the other way round.
    similarity: (block_q, block_m), infinite where the two have the same class. tables: `num_positives`, `positives`,
    `positive_columns`, `by_ahead` and `by_positive` of `similarity_gradient`.
    """
    num_positives, positives, positive_columns, by_ahead, by_positive = tables
    for p in range(tl.max(tl.load(num_positives + own))):
        pairs = p * num_queries + own
        _, slope = _step((similarity - tl.load(positives + pairs)) * scale)
        is_positive = tl.load(positive_columns + pairs) == others
        tile += slope * tl.load(by_ahead + pairs) + tl.where(is_positive, tl.load(by_positive + pairs), 0.0)
    return tile


@triton.jit
def _similarities(
    query: tl.tensor,
    gallery: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    dim: tl.tensor,
    precision: tl.constexpr,
    block_q: tl.constexpr,
    block_m: tl.constexpr,
    block_d: tl.constexpr,
) -> tl.tensor:
    """(block_q, block_m) dot products."""
    depth = tl.arange(0, block_d)
    query_block = query + rows.to(tl.int64)[:, None] * dim + depth[None, :]
    gallery_block = gallery + columns.to(tl.int64)[None, :] * dim + depth[:, None]
    similarity = tl.zeros((block_q, block_m), tl.float32)
    for begin in range(0, dim, block_d):
        similarity = tl.dot(
            tl.load(query_block + begin), tl.load(gallery_block + begin), similarity, input_precision=precision
        )
    return similarity


@triton.jit
def _step(lead: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """sg(lead) and its slope, which is taken as exp(-lead) sg^2: sg (1 - sg) loses all digits where sg is near 1."""
    clipped = tl.minimum(tl.maximum(lead, -_SATURATION), _SATURATION)
    power = tl.exp(-clipped)
    step = 1.0 / (1.0 + power)
    return step, tl.where(clipped == lead, power * step * step, 0.0)
