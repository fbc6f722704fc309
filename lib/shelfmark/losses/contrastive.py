"""The contrastive loss. Legend: B queries, G gallery rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch.nn import functional as F

from shelfmark.losses.checks import require_one_of
from shelfmark.losses.loss import option
from shelfmark.losses.miners import Miner, mined_pairs, require_miner
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums

Distance = Literal["dot", "euclidean"]
_MARGINS = {"dot": (1.0, 0.5), "euclidean": (0.0, 1.0)}


@dataclass(frozen=True)
class ContrastiveLoss(PairLoss):
    """How far positive pairs are beyond their margin, plus how far negative pairs are within theirs.

    distance     positive pair              negative pair              margins
    dot          [positive_margin - s]+     [s - negative_margin]+     1, 0.5
    euclidean    [d - positive_margin]+     [negative_margin - d]+     0, 1

    with s the dot product and d the distance of the two rows. Each of the two is a mean over its pairs that are
    above 0, of all queries together; 0 where there is none.
    miner, epsilon, seed: see `mined_pairs`.
    Source: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, with the
    margins' excess in place of half its square, as is usual since.
    """

    distance: Distance = option("dot", "unit of the margins. dot: dot products. euclidean: distances")
    positive_margin: float | None = option(
        None,
        "a positive pair costs nothing if its dot product is at least this, or its distance at most this."
        " null: 1 for dot, 0 for euclidean",
    )
    negative_margin: float | None = option(
        None,
        "a negative pair costs nothing if its dot product is at most this, or its distance at least this."
        " null: 0.5 for dot, 1 for euclidean",
    )
    miner: Miner = option(
        "none",
        "which pairs count. none: all. hard: for each query the least similar positive and the most"
        " similar negative. semihard: all positives, and for each the most similar negative that is less"
        " similar than it. multi_similarity: pairs that are hard by epsilon. distance_weighted: all"
        " positives, and for each a random negative, drawn so that near and far negatives come up alike",
    )
    epsilon: float = option(
        0.1,
        "for miner=multi_similarity: a positive counts if it is less similar than the most similar"
        " negative + epsilon, a negative if it is more similar than the least similar positive - epsilon;"
        " 0 or above",
    )
    seed: int = 0

    def __post_init__(self) -> None:
        require_one_of("distance", self.distance, get_args(Distance))
        for name, value in (("positive_margin", self.positive_margin), ("negative_margin", self.negative_margin)):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name}={value} must be a finite number")
        require_miner(self.miner, self.epsilon)

    def pair_sums(self, pairs: Pairs) -> Sums:
        positive, negative = mined_pairs(pairs, self.miner, epsilon=self.epsilon, seed=self.seed)
        positive_margin, negative_margin = self._margins()
        if self.distance == "dot":
            too_far, too_near = positive_margin - pairs.similarity, pairs.similarity - negative_margin
        else:
            too_far, too_near = pairs.distance - positive_margin, negative_margin - pairs.distance
        terms = [F.relu(too_far) * positive, F.relu(too_near) * negative]
        return Sums(torch.stack([term.sum() for term in terms]), torch.stack([term.count_nonzero() for term in terms]))

    def _margins(self) -> tuple[float, float]:
        positive_margin, negative_margin = _MARGINS[self.distance]
        return (
            positive_margin if self.positive_margin is None else self.positive_margin,
            negative_margin if self.negative_margin is None else self.negative_margin,
        )
