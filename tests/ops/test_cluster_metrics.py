from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import homogeneity_completeness_v_measure, normalized_mutual_info_score
from sklearn.metrics.cluster import pair_confusion_matrix

from shelfmark.ops.cluster_metrics import bcubed, nmi, pairwise, v_measure

# Two clusters, {0, 1, 2} and {3, 4}, of the classes {0, 1} and {2, 3, 4}.
TRUE, PREDICTED = [7, 7, 9, 9, 9], [0, 0, 0, 5, 5]


def _slow_pairwise(true: list[int], predicted: list[int]) -> tuple[float, float, float]:
    pairs = list(combinations(range(len(true)), 2))
    both = sum(true[i] == true[j] and predicted[i] == predicted[j] for i, j in pairs)
    clustered = sum(predicted[i] == predicted[j] for i, j in pairs)
    labelled = sum(true[i] == true[j] for i, j in pairs)
    divided = lambda part, whole: part / whole if whole else math.nan  # noqa: E731
    return divided(both, clustered), divided(both, labelled), divided(2 * both, clustered + labelled)


def _slow_bcubed(true: list[int], predicted: list[int]) -> tuple[float, float, float]:
    items = range(len(true))
    precisions, recalls = [], []
    for i in items:
        cluster = {j for j in items if predicted[j] == predicted[i]}
        label = {j for j in items if true[j] == true[i]}
        precisions.append(len(cluster & label) / len(cluster))
        recalls.append(len(cluster & label) / len(label))
    precision, recall = np.mean(precisions), np.mean(recalls)
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_a_case_worked_by_hand() -> None:
    # Pairs in one cluster: 3 + 1, of one class: 1 + 3, of both: 1 + 1.
    assert pairwise(TRUE, PREDICTED) == pytest.approx((2 / 4, 2 / 4, 2 / 4))
    # Of cluster {0, 1, 2}: items 0 and 1 have 2/3, item 2 has 1/3; of class {2, 3, 4}: 1/3, 2/3, 2/3.
    precision, recall = (2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5, (1 + 1 + 1 / 3 + 2 / 3 + 2 / 3) / 5
    assert bcubed(TRUE, PREDICTED) == pytest.approx((precision, recall, precision))


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(-2, 5), st.integers(0, 6)), min_size=1, max_size=25),
    shift=st.sampled_from([0, 10**12]),
)
def test_all_agree_with_slow_counts_and_with_scikit_learn(items: list[tuple[int, int]], shift: int) -> None:
    true, predicted = [shift + label for label, _ in items], [cluster - shift for _, cluster in items]
    assert pairwise(true, predicted) == pytest.approx(_slow_pairwise(true, predicted), nan_ok=True)
    assert bcubed(true, predicted) == pytest.approx(_slow_bcubed(true, predicted))
    expected = homogeneity_completeness_v_measure(true, predicted)
    assert v_measure(true, predicted) == pytest.approx(expected, abs=1e-9)
    assert nmi(true, predicted) == pytest.approx(normalized_mutual_info_score(true, predicted), abs=1e-9)


def test_large_clusterings_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    true = generator.zipf(1.5, 3000) % 400
    predicted = np.where(generator.random(3000) < 0.6, true, generator.integers(300, size=3000))
    (_, wrong_pairs), (missed_pairs, right_pairs) = pair_confusion_matrix(true, predicted)
    expected = right_pairs / (right_pairs + wrong_pairs), right_pairs / (right_pairs + missed_pairs)
    assert pairwise(true, predicted)[:2] == pytest.approx(expected)
    assert nmi(true, predicted) == pytest.approx(normalized_mutual_info_score(true, predicted))


def test_names_and_order_of_clusters_do_not_matter_and_a_perfect_clustering_scores_one() -> None:
    generator = torch.Generator().manual_seed(0)
    true, predicted = torch.randint(9, (50,), generator=generator), torch.randint(5, (50,), generator=generator)
    order = torch.randperm(50, generator=generator)
    for score in (pairwise, bcubed, v_measure):
        assert score(true[order], 100 - 3 * predicted[order]) == pytest.approx(score(true, predicted))
        assert score(true, 7 * true + 1) == pytest.approx((1, 1, 1))
        # Precision and recall change places with the partitions.
        assert score(predicted, true)[::-1][1:] == pytest.approx(score(true, predicted)[:2])
    assert nmi(predicted, true) == pytest.approx(nmi(true, predicted))


def test_a_share_of_nothing_is_nan() -> None:
    assert all(math.isnan(value) for score in (pairwise, bcubed, v_measure) for value in score([], []))
    # Every item alone: no pair is claimed, so there is none to be right about; one pair of a class is missed.
    precision, recall, f = pairwise([0, 0, 1], [0, 1, 2])
    assert math.isnan(precision)
    assert (recall, f) == (0, 0)
    assert nmi([3, 3], [8, 8]) == 1


def test_misfit_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N,\)"):
        pairwise([0, 1], [0])
    with pytest.raises(ValueError, match="expected integers"):
        bcubed([0.5], [1])
