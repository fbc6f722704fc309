"""The triplet loss. Legend: B queries, G gallery rows, P most positives of a query."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from shelfmark.losses.checks import require_one_of
from shelfmark.losses.loss import option
from shelfmark.losses.miners import (
    distance_weighted_negatives,
    positive_columns,
    semihard_negatives,
    with_positive_and_negative,
)
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import log1p_exp

Mining = Literal["all", "semihard", "hard", "soft", "distance_weighted"]
Distance = Literal["euclidean", "squared_euclidean", "cosine"]
_MAY_INCLUDE_SELF = ("hard", "soft")


@dataclass(frozen=True)
class TripletLoss(PairLoss):
    """The mean over triplets of [margin + d_p - d_n]+, or with margin 0 of the soft margin ln(1 + exp(d_p - d_n)).

    d_p, d_n: the query's distances to a positive and to a negative. Queries that lack either have no triplet.

    mining               triplets                                                       mean over
    all                  each positive with each negative                               triplets above 0
    semihard             each positive with the nearest negative that is farther than
                         it, and where there is none with the farthest                  positives
    hard                 the farthest positive with the nearest negative                queries
    soft                 sum_p w_p d_p and sum_n w_n d_n for d_p and d_n, with w the
                         softmax of d over positives, of -d over negatives; the
                         gradient takes the weights along                               queries
    distance_weighted    each positive with a random negative of near or middling
                         distance, see `distance_weighted_negatives`                    positives

    cosine is the squared distance of vectors of length 1. With include_self every query with a negative has a triplet,
    with itself, at distance 0.
    seed: of the random negatives, with the optimizer step and the query's row.
    Sources: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015 (semihard); Hermans, Beyer, Leibe, "In Defense of the
    Triplet Loss for Person Re-Identification", 2017 (all, hard, soft margin); Wu et al., "Sampling Matters in Deep
    Embedding Learning", ICCV 2017 (distance_weighted).
    """

    margin: float = option(
        0.3,
        "a negative should be farther away than a positive by at least this. 0: soft margin, ln(1 +"
        " exp(d_p - d_n)) with the distances d",
    )
    mining: Mining = option(
        "all",
        "which triplets count. all: each positive with each negative. semihard: each positive with the"
        " nearest negative that is farther away than it. hard: for each query the farthest positive with"
        " the nearest negative. soft: for each query, means of the distances that are weighted by their"
        " softmax. distance_weighted: each positive with a random negative, drawn so that near and far"
        " negatives come up alike",
    )
    distance: Distance = option("euclidean", "distance of two vectors. cosine: 2 - 2 s, with s the similarity")
    seed: int = 0
    include_self: bool = option(
        False, "for mining=hard and mining=soft: whether each image is also a positive of itself, as in fast-reid"
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin={self.margin} must be a finite number, 0 or above; 0 is the soft margin")
        require_one_of("mining", self.mining, get_args(Mining))
        require_one_of("distance", self.distance, get_args(Distance))
        if self.include_self and self.mining not in _MAY_INCLUDE_SELF:
            raise ValueError(f"include_self=True is an option of mining={' and '.join(_MAY_INCLUDE_SELF)} alone")

    def pair_sums(self, pairs: Pairs) -> Sums:
        pairs = with_positive_and_negative(replace(pairs, include_self=self.include_self))
        distance = self._distance(pairs)
        if not len(distance):
            return Sums(distance.sum()[None], pairs.self_index.new_zeros(1))
        if self.mining == "all":
            return _hinge_sums(pairs, distance, self.margin) if self.margin else _soft_margin_sums(pairs, distance)
        to_positive, to_negative = self._mined(pairs, distance)
        excess = to_positive - to_negative
        losses = F.relu(excess + self.margin) if self.margin else log1p_exp(excess)
        return Sums(losses.sum()[None], pairs.self_index.new_full((1,), len(losses)))

    def _distance(self, pairs: Pairs) -> Tensor:
        if self.distance == "cosine":
            distance = 2 - 2 * pairs.similarity
        else:
            distance = pairs.distance if self.distance == "euclidean" else pairs.squared_distance
        # A query's distance to itself is rounding alone, and the root of that has a slope without bound.
        return distance.masked_fill(pairs.itself, 0) if self.include_self else distance

    def _mined(self, pairs: Pairs, distance: Tensor) -> tuple[Tensor, Tensor]:
        """d_p and d_n of the triplets, in the same order."""
        if self.mining == "hard":
            farthest = distance.masked_fill(~pairs.positive, -math.inf).max(1).values
            return farthest, distance.masked_fill(~pairs.negative, math.inf).min(1).values
        if self.mining == "soft":
            return _weighted(distance, distance, pairs.positive), _weighted(distance, -distance, pairs.negative)
        columns, is_positive = positive_columns(pairs.positive)
        if self.mining == "semihard":
            negatives = semihard_negatives(distance.detach(), columns, pairs.negative)
        else:
            negatives = distance_weighted_negatives(pairs, columns.shape[1], self.seed)
        return distance.gather(1, columns)[is_positive], distance.gather(1, negatives)[is_positive]


def _hinge_sums(pairs: Pairs, distance: Tensor, margin: float) -> Sums:
    """Of every triplet's [margin + d_p - d_n]+, without a list of them.

    Between its kinks the sum is linear in the distances, and counts are its coefficients: how many negatives lie below
    each bound margin + d_p, and how many bounds above each negative.
    """
    columns, is_positive = positive_columns(pairs.positive)
    bounds = (distance.gather(1, columns) + margin).masked_fill(~is_positive, -math.inf).sort(1).values
    place = torch.searchsorted(bounds.detach(), distance.detach(), right=True)
    bounds_above = (bounds.shape[1] - place).masked_fill(~pairs.negative, 0)
    negatives_at = place.new_zeros(len(place), bounds.shape[1] + 1).scatter_add_(1, place, pairs.negative.long())
    negatives_below = negatives_at.cumsum(1)[:, :-1]
    total = (bounds.masked_fill(negatives_below == 0, 0) * negatives_below).sum() - (distance * bounds_above).sum()
    return Sums(total[None], bounds_above.sum()[None])


def _soft_margin_sums(pairs: Pairs, distance: Tensor) -> Sums:
    """The soft margin of every triplet. A pass takes the next positive of each query that has one: (B, G)."""
    columns, is_positive = positive_columns(pairs.positive)
    to_positive = distance.gather(1, columns)
    total = distance.new_zeros(1)
    for place, num_queries in enumerate(is_positive.sum(0).tolist()):
        # The queries with the most positives come first.
        block = to_positive[:num_queries, place, None], distance[:num_queries], pairs.negative[:num_queries]
        total = total + checkpoint(_soft_margin_total, *block, use_reentrant=False, preserve_rng_state=False)
    num_triplets = (is_positive.sum(1) * pairs.negative.sum(1)).sum()
    return Sums(total, num_triplets[None])


def _soft_margin_total(to_positive: Tensor, distance: Tensor, negative: Tensor) -> Tensor:
    return (log1p_exp(to_positive - distance) * negative).sum()


def _weighted(distance: Tensor, logits: Tensor, among: Tensor) -> Tensor:
    """Each row's mean distance among some columns, weighted by the softmax of the logits there: (B,)."""
    return (logits.masked_fill(~among, -math.inf).softmax(1) * distance).sum(1)
