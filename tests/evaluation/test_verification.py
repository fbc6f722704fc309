from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from shelfmark.core.errors import UserError
from shelfmark.evaluation.verification import roc_auc, true_positive_rate, verification_scores
from shelfmark.retrieval.query_gallery import QueryGallery


@settings(max_examples=60, deadline=None)
@given(
    positive=st.lists(st.integers(0, 9), min_size=1, max_size=20),
    negative=st.lists(st.integers(-3, 6), min_size=1, max_size=40),
    rate=st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.7, 0.999]),
)
def test_rates_agree_with_scikit_learn_with_ties(positive: list[int], negative: list[int], rate: float) -> None:
    same, different = torch.tensor(positive).double(), torch.tensor(negative).double()
    truth, scores = [1] * len(positive) + [0] * len(negative), positive + negative
    assert roc_auc(same, different) == pytest.approx(roc_auc_score(truth, scores))
    false_rates, true_rates, _ = roc_curve(truth, scores, drop_intermediate=False)
    expected = true_rates[false_rates <= rate + 1e-9].max() if rate * len(negative) > 1 - 1e-9 else None
    assert true_positive_rate(same, different, rate) == (None if expected is None else pytest.approx(expected))


def test_rates_of_a_case_worked_by_hand() -> None:
    positive, negative = torch.tensor([0.9, 0.6, 0.5, 0.2]), torch.tensor([0.8, 0.5, 0.4, 0.3, 0.1])
    # Above the second greatest negative, 0.5, lie 0.9 and 0.6: at one false positive of five.
    assert true_positive_rate(positive, negative, 0.2) == 2 / 4
    assert true_positive_rate(positive, negative, 0.4) == 3 / 4
    # Less than one negative can be allowed.
    assert true_positive_rate(positive, negative, 0.1) is None
    assert true_positive_rate(positive[:0], negative, 0.2) is None
    assert roc_auc(positive, negative[:0]) is None


def _shop() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30).repeat_interleave(torch.arange(30) % 5 + 1)
    return torch.randn(30, 6, generator=generator)[labels] + torch.randn(len(labels), 6, generator=generator), labels


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_all_pairs_of_a_small_set_are_compared_but_none_with_itself(metric: str) -> None:
    features, labels = _shop()
    features[3] = features[2]
    found = verification_scores(QueryGallery.of(features, labels), metric=metric, rates=(0.1, 0.01))
    vectors = torch.nn.functional.normalize(features) if metric == "cosine" else features
    scores = -torch.cdist(vectors, vectors) if metric == "euclidean" else vectors @ vectors.T
    other = ~torch.eye(len(labels), dtype=torch.bool)
    same = labels[:, None] == labels
    assert found["num_positive_pairs"] == int((same & other).sum())
    assert found["num_negative_pairs"] == int((~same).sum())
    expected = roc_auc_score(same[other].numpy(), scores[other].numpy())
    assert found["roc_auc"] == pytest.approx(expected, abs=1e-6)
    assert 0 < found["tpr@fpr=0.01"] < found["tpr@fpr=0.1"] < 1


def test_drawn_pairs_stand_for_all_of_them() -> None:
    features, labels = _shop()
    every = verification_scores(QueryGallery.of(features, labels), rates=(0.1,))
    drawn = verification_scores(QueryGallery.of(features, labels), rates=(0.1,), num_pairs=200)
    assert (drawn["num_positive_pairs"], drawn["num_negative_pairs"]) == (200, 200)
    assert drawn == verification_scores(QueryGallery.of(features, labels), rates=(0.1,), num_pairs=200)
    assert drawn != verification_scores(QueryGallery.of(features, labels), rates=(0.1,), num_pairs=200, seed=1)
    assert drawn["roc_auc"] == pytest.approx(every["roc_auc"], abs=0.1)
    several = [
        verification_scores(QueryGallery.of(features, labels), num_pairs=200, seed=seed)["roc_auc"]
        for seed in range(30)
    ]
    assert np.mean(several) == pytest.approx(every["roc_auc"], abs=0.02)


def test_queries_are_compared_with_the_gallery_by_label_and_never_with_their_own_id() -> None:
    query, gallery = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 0]])
    found = verification_scores(QueryGallery.of(query, [0, -1], gallery, [0, 0, 1, -1], [5, 6], [5, 7, 8, 9]))
    assert (found["num_positive_pairs"], found["num_negative_pairs"]) == (1, 1)
    assert found["roc_auc"] == 1


def test_a_missing_kind_gives_none() -> None:
    found = verification_scores(QueryGallery.of(torch.eye(3), [0, 1, 2]))
    assert (found["roc_auc"], found["tpr@fpr=0.01"], found["num_positive_pairs"]) == (None, None, 0)
    found = verification_scores(QueryGallery.of(torch.eye(3), [4, 4, 4]), num_pairs=2)
    assert (found["roc_auc"], found["num_positive_pairs"], found["num_negative_pairs"]) == (None, 2, 0)
    assert verification_scores(QueryGallery.of(torch.eye(2), [-1, -1]))["num_positive_pairs"] == 0


def test_a_rate_outside_its_range_is_refused() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        verification_scores(QueryGallery.of(torch.eye(3), [0, 0, 1]), rates=(1.0,))
