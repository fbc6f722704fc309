from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.evaluation import legacy_metrics, retrieval
from shelfmark.evaluation.legacy_metrics import legacy_scores
from shelfmark.retrieval.query_gallery import QueryGallery


def _slow(features: np.ndarray, labels: np.ndarray, ks: list[int], gallery: tuple | None = None) -> dict[str, float]:
    """As the code of 2021 counts: a ranked list of everything, its first column off where the set searches itself."""
    others, other_labels = (features, labels) if gallery is None else gallery
    found: dict[str, list[float]] = {}
    for vector, label in zip(features, labels):
        value = others @ vector
        ranked = sorted(range(len(others)), key=lambda row: (-value[row], row))[1 if gallery is None else 0 :]
        hits = [int(other_labels[row] == label) for row in ranked]
        size = max(1, int((other_labels == label).sum()))
        own = {f"recall@{k}": float(any(hits[:k])) for k in ks} | {f"precision@{k}": sum(hits[:k]) / k for k in ks}
        precisions = [hit * sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits)]
        for name, last in (("map_1000", 1000), ("map_lim", 1023), ("map_c", (other_labels == label).sum())):
            own[name] = sum(precisions[:last]) / size
        for name, score in own.items():
            found.setdefault(name, []).append(score)
    return {name: float(np.mean(values)) for name, values in found.items()}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_images=st.integers(2, 40), with_gallery=st.booleans(), step=st.integers(1, 9))
def test_both_definitions_agree_with_a_slow_count(seed: int, num_images: int, with_gallery: bool, step: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.integers(3, size=(num_images, 3)).astype(np.float64)
    labels = generator.integers(5, size=num_images)
    gallery = (generator.integers(3, size=(7, 3)).astype(np.float64), generator.integers(5, size=7))
    sides = QueryGallery.of(features, labels, *(gallery if with_gallery else ()))
    expected = _slow(features, labels, [1, 3], gallery if with_gallery else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(legacy_metrics, "_BLOCK_NEIGHBOURS", 1100 * step)
        pnp = legacy_scores(sides, [1, 3], "pnp", metric="dot")
    assert pnp == pytest.approx(expected)
    recalls = {name: value for name, value in expected.items() if name.startswith("recall")}
    assert legacy_scores(sides, [1, 3], "fastreid", metric="dot") == pytest.approx(recalls)


def test_a_duplicate_makes_the_old_recall_count_the_query_itself() -> None:
    # Queries 0 and 1 are the same picture under two labels. The search for 1 finds 0 first, whose place is dropped,
    # and then itself: a hit by the old rule. By ours, query 1 has no positive at all.
    features, labels = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0.1, 1]]), torch.tensor([0, 1, 2, 2])
    assert legacy_scores(QueryGallery.of(features, labels), [1], "fastreid")["recall@1"] == 3 / 4
    ours = retrieval.scores(features, labels, [1])
    assert (ours["recall@1"], ours["num_queries"]) == (1, 2)


def test_a_perfect_search_scores_less_than_one_by_the_old_average_precision() -> None:
    features, labels = torch.eye(3).repeat_interleave(4, dim=0), torch.arange(3).repeat_interleave(4)
    found = legacy_scores(QueryGallery.of(features, labels), [1], "pnp")
    assert (found["map_1000"], found["map_lim"], found["map_c"]) == (3 / 4, 3 / 4, 3 / 4)
    assert retrieval.scores(features, labels, [1])["map"] == 1


def test_the_first_1000_and_1023_places_are_told_apart() -> None:
    # Images along an arc. Behind the query itself, the other image of its class stands at place 1010 of 1,099.
    angles = torch.linspace(0, 1.5, 1100, dtype=torch.float64)
    labels = torch.zeros(1100, dtype=torch.int64) - 1
    labels[0] = labels[1010] = 1
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    found = legacy_scores(QueryGallery.of(features, labels), [1], "pnp")
    # In the other's list this one stands last, behind those on both of its sides.
    assert found["map_1000"] == 0
    assert found["map_lim"] == pytest.approx(1 / 1010 / 2 / 2)


def test_queries_without_a_label_are_left_out_and_none_at_all_is_an_error() -> None:
    features, labels = torch.eye(3), torch.tensor([0, 0, -1])
    assert legacy_scores(QueryGallery.of(features, labels), [2], "fastreid")["recall@2"] == 1
    with pytest.raises(UserError, match="No query has a label"):
        legacy_scores(QueryGallery.of(features, [-1, -1, -1]), [1], "pnp")


@pytest.mark.parametrize(
    ("ks", "definitions", "message"), [([0], "pnp", "each at least 1"), ([1], "pnb", "Did you mean 'pnp'")]
)
def test_bad_input_is_refused_with_its_reason(ks: list[int], definitions: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        legacy_scores(QueryGallery.of(torch.eye(3), [0, 0, 1]), ks, definitions)
