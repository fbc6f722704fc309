"""Verification: same or different, by a threshold on the score. Legend: Q queries, G gallery, D embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.ops.class_metrics import Scores
from shelfmark.retrieval.exact import pair_scores
from shelfmark.retrieval.query_gallery import QueryGallery, RowsByKey
from shelfmark.retrieval.vectors import comparable

RATES = (1e-2, 1e-3, 1e-4)


def verification_scores(
    sides: QueryGallery,
    metric: str = "cosine",
    rates: Sequence[float] = RATES,
    num_pairs: int = 2_000_000,
    seed: int = 0,
) -> Scores:
    """tpr@fpr=F for each of rates, roc_auc, and the numbers of pairs that were scored.

    A pair is a labelled query and another labelled gallery item, positive where the labels agree. At most num_pairs of
    each kind are used: all pairs if there are no more, else num_pairs drawn at random with replacement. None where a
    kind is missing, and for a rate below one negative pair.

    metric: as in `evaluation.retrieval.scores`.
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise UserError(f"A false positive rate of {rate} must lie between 0 and 1, such as 0.001.")
    query, gallery = comparable(sides.query, sides.gallery, metric)
    pairs = {
        "positive": _positive_pairs(sides, num_pairs, seed),
        "negative": _negative_pairs(sides, num_pairs, seed),
    }
    positive, negative = (_scores(query, gallery, one, metric) for one in pairs.values())
    return {
        **{f"tpr@fpr={rate:g}": true_positive_rate(positive, negative, rate) for rate in rates},
        "roc_auc": roc_auc(positive, negative),
        **{f"num_{kind}_pairs": len(rows) for kind, rows in pairs.items()},
    }


def true_positive_rate(positive: Tensor, negative: Tensor, false_positive_rate: float) -> float | None:
    """The largest share of positive scores above a threshold that at most this share of negative scores exceeds.

    positive, negative: (pairs,) scores. None where there is no positive, or where the rate is less than one negative.
    """
    # The product of a rate and a count may differ from the intended whole number in the last digit.
    allowed = int(np.floor(false_positive_rate * len(negative) * (1 + 1e-12)))
    if not len(positive) or allowed < 1:
        return None
    threshold = negative.sort(descending=True).values[min(allowed, len(negative) - 1)]
    return float((positive > threshold).double().mean())


def roc_auc(positive: Tensor, negative: Tensor) -> float | None:
    """The chance that a positive scores above a negative; equal scores count half. None without either."""
    if not len(positive) or not len(negative):
        return None
    ordered = negative.sort().values
    below, up_to = torch.searchsorted(ordered, positive), torch.searchsorted(ordered, positive, right=True)
    return float((below + up_to).double().mean() / (2 * len(negative)))


def _positive_pairs(sides: QueryGallery, num_pairs: int, seed: int) -> np.ndarray:
    """(pairs, 2) rows of a query and of a gallery item of its class."""
    same_label = RowsByKey(sides.gallery_labels)
    num_same = sides.class_sizes()
    ends = np.cumsum(num_same)
    total = int(ends[-1]) if len(ends) else 0
    numbers = np.arange(total)
    if total > num_pairs:
        # Pairs of a query with itself are drawn too and dropped below: half of all where each class has two images.
        numbers = numpy_generator(seed, "positive pairs").integers(total, size=2 * num_pairs)
    queries = np.searchsorted(ends, numbers, side="right")
    places = numbers - (ends - num_same)[queries]
    rows = same_label.nth(sides.query_labels[queries], places) if total else queries
    is_other = sides.query_ids[queries] != sides.gallery_ids[rows]
    return np.stack([queries, rows], axis=1)[is_other][:num_pairs]


def _negative_pairs(sides: QueryGallery, num_pairs: int, seed: int) -> np.ndarray:
    """(pairs, 2) rows of a query and of a gallery item of another class."""
    queries, rows = np.flatnonzero(sides.query_labels >= 0), np.flatnonzero(sides.gallery_labels >= 0)
    total = len(queries) * len(rows)
    if total <= num_pairs:
        pairs = np.stack([np.repeat(queries, len(rows)), np.tile(rows, len(queries))], axis=1)
        return pairs[_differ(sides, pairs)]
    generator = numpy_generator(seed, "negative pairs")
    found = np.empty((0, 2), dtype=np.int64)
    # Most pairs are of two classes. Where hardly any is, eight rounds still find some.
    for _ in range(8):
        drawn = generator.integers(total, size=num_pairs)
        pairs = np.stack([queries[drawn // len(rows)], rows[drawn % len(rows)]], axis=1)
        found = np.concatenate([found, pairs[_differ(sides, pairs)]])[:num_pairs]
        if len(found) == num_pairs:
            break
    return found


def _differ(sides: QueryGallery, pairs: np.ndarray) -> np.ndarray:
    query, row = pairs.T
    return (sides.query_labels[query] != sides.gallery_labels[row]) & (sides.query_ids[query] != sides.gallery_ids[row])


def _scores(query: Tensor, gallery: Tensor, pairs: np.ndarray, metric: str) -> Tensor:
    """(pairs,) scores, in blocks."""
    found = [
        pair_scores(query[block[:, 0]], gallery, block[:, 1:], metric)[:, 0]
        for block in torch.from_numpy(pairs).split(1 << 16)
    ]
    return torch.cat(found) if found else query.new_empty(0)
