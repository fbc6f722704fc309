"""Miners: which of a block's pairs a loss looks at. Legend: B queries, G gallery rows, P most positives of a query."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from shelfmark.core.rng import derive_seed
from shelfmark.losses.checks import require_not_negative, require_one_of
from shelfmark.losses.pairs import Pairs
from shelfmark.ops.draws import uniform

Miner = Literal["none", "hard", "semihard", "multi_similarity", "distance_weighted"]


def mined_pairs(pairs: Pairs, miner: Miner, *, epsilon: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The positives and the negatives that are kept: two (B, G) bool masks, without gradient.

    none               every pair
    hard               each query's least similar positive and most similar negative
    semihard           every positive; for each the most similar of the negatives that are less similar than it, and
                       where there is none the least similar negative
    multi_similarity   positives with s < max s_n + epsilon, negatives with s > min s_p - epsilon; nothing of a query
                       that lacks either
    distance_weighted  every positive; for each a random negative of near or middling distance, see
                       `distance_weighted_negatives`. A negative that is drawn twice counts once

    Of equally similar ones the first is kept. seed: of the draws, with the optimizer step and the query's row.
    Sources: Hermans, Beyer, Leibe 2017 (hard); Schroff, Kalenichenko, Philbin, CVPR 2015 (semihard); Wang et al.,
    CVPR 2019, eq. 11-12 (multi_similarity); Wu et al., ICCV 2017 (distance_weighted).
    """
    positive, negative = pairs.positive, pairs.negative
    if miner == "none" or not positive.numel():
        return positive, negative
    similarity = pairs.similarity.detach()
    if miner == "hard":
        hardest_positive = similarity.masked_fill(~positive, math.inf).argmin(1, keepdim=True)
        hardest_negative = similarity.masked_fill(~negative, -math.inf).argmax(1, keepdim=True)
        return _chosen(positive, hardest_positive), _chosen(negative, hardest_negative)
    if miner == "multi_similarity":
        least_positive = similarity.masked_fill(~positive, math.inf).amin(1, keepdim=True)
        largest_negative = similarity.masked_fill(~negative, -math.inf).amax(1, keepdim=True)
        return positive & (similarity < largest_negative + epsilon), negative & (similarity > least_positive - epsilon)
    columns, is_positive = positive_columns(positive)
    if miner == "semihard":
        drawn = semihard_negatives(-similarity, columns, negative)
    else:
        drawn = distance_weighted_negatives(pairs, columns.shape[1], seed)
    rows, places = is_positive.nonzero(as_tuple=True)
    kept = torch.zeros_like(negative).index_put_((rows, drawn[rows, places]), positive.new_ones(()))
    return positive, negative & kept


def with_positive_and_negative(pairs: Pairs) -> Pairs:
    """The block's queries that have a positive and a negative, those with the most positives first."""
    num_positives = pairs.positive.sum(1) * pairs.negative.any(1)
    rows = num_positives.argsort(descending=True, stable=True)[: int(num_positives.count_nonzero())]
    query, labels, self_index = pairs.query[rows], pairs.query_labels[rows], pairs.self_index[rows]
    return replace(pairs, query=query, query_labels=labels, self_index=self_index)


def require_miner(miner: str, epsilon: float) -> None:
    """Raises a ValueError unless `mined_pairs` knows these options."""
    require_one_of("miner", miner, get_args(Miner))
    require_not_negative("epsilon", epsilon)


def positive_columns(positive: Tensor) -> tuple[Tensor, Tensor]:
    """The gallery rows of each query's positives in their order, and which places hold one: (B, P) int64 and bool.

    Places without a positive hold 0. positive: (B, G) bool, of one query at least.
    """
    num_positives = positive.sum(1, keepdim=True)
    places = torch.arange(int(num_positives.max()), device=positive.device)
    is_positive = places < num_positives
    columns = torch.zeros_like(is_positive, dtype=torch.int64)
    columns[is_positive] = positive.nonzero()[:, 1]
    return columns, is_positive


def semihard_negatives(distance: Tensor, columns: Tensor, negative: Tensor) -> Tensor:
    """For each positive the nearest negative that is farther than it, else the farthest negative: (B, P) gallery rows.

    Of equally far ones the first; for a query without negatives the rows mean nothing.
    distance: (B, G), of any kind. columns: (B, P), the gallery rows of the positives. negative: (B, G) bool.
    Source: Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering",
    CVPR 2015.
    """
    negatives, order = distance.masked_fill(~negative, math.inf).sort(dim=1, stable=True)
    farther = torch.searchsorted(negatives, distance.gather(1, columns), right=True)
    farthest = torch.searchsorted(negatives, distance.masked_fill(~negative, -math.inf).amax(1, keepdim=True))
    return order.gather(1, torch.minimum(farther, farthest))


_NEAREST, _FARTHEST = 0.5, 1.4
_WHOLE = 2.0**40


def distance_weighted_negatives(pairs: Pairs, num_draws: int, seed: int) -> Tensor:
    """Random negatives of each query, drawn with replacement: (B, num_draws) gallery rows.

    The weight of a negative at distance d is 1 / q(d), with q(d) = d^(D-2) (1 - d^2 / 4)^((D-3) / 2) the density of
    distances between random points of the unit sphere, so that all distances come up alike: d below 0.5 counts
    as 0.5, negatives from 1.4 on are left out. A query with none below 1.4 draws from all its negatives alike; for one
    without negatives the rows mean nothing. Vectors of length 1 are taken for granted.
    Source: Wu, Manmatha, Smola, Krähenbühl, "Sampling Matters in Deep Embedding Learning", ICCV 2017, section 4.
    """
    dim = pairs.query.shape[1]
    distance = pairs.distance.detach()
    near = distance.clamp(_NEAREST, _FARTHEST)
    log_weight = (2 - dim) * near.log() + (3 - dim) / 2 * (1 - near.square() / 4).log()
    log_weight = log_weight.masked_fill(~pairs.negative | (distance >= _FARTHEST), -math.inf)
    highest = log_weight.amax(1, keepdim=True)
    weight = torch.where(highest.isfinite(), (log_weight - highest).exp(), pairs.negative.to(log_weight.dtype))
    # Whole numbers add up exactly on every device: what has no weight is never drawn.
    up_to = (weight.to(torch.float64) * _WHOLE).round().to(torch.int64).cumsum(1)
    total = up_to[:, -1:]
    draws = uniform(derive_seed(seed, "distance_weighted"), pairs.step, pairs.self_index, num_draws)
    aims = (draws * total).to(torch.int64).minimum(total - 1)
    return torch.searchsorted(up_to, aims, right=True)


def _chosen(candidates: Tensor, column: Tensor) -> Tensor:
    """(B, G) bool: of each row's candidates the one at `column` (B, 1), if it is one."""
    return candidates & torch.zeros_like(candidates).scatter_(1, column, True)
