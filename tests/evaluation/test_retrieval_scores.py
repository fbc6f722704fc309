from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from shelfmark.core.errors import UserError
from shelfmark.evaluation import retrieval
from shelfmark.retrieval import search


def _slow_scores(
    query: np.ndarray, labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray, ids: tuple, metric: str
) -> dict[str, float]:
    lists = []
    for vector, label, own in zip(query, labels, ids[0]):
        allowed = [row for row in range(len(gallery)) if ids[1][row] != own]
        if metric == "euclidean":
            value = {row: -((gallery[row] - vector) ** 2).sum() for row in allowed}
        else:
            value = {row: vector @ gallery[row] for row in allowed}
        ranked = sorted(allowed, key=lambda row: (-value[row], row))
        hits = np.array([gallery_labels[row] == label for row in ranked], dtype=bool)
        if label >= 0 and hits.any():
            lists.append(hits)
    precisions = [np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits for hits in lists]
    relevant = [hits.sum() for hits in lists]
    mean = {
        "recall@1": [hits[:1].any() for hits in lists],
        "recall@3": [hits[:3].any() for hits in lists],
        "map": [p.sum() / r for p, r in zip(precisions, relevant)],
        "map@r": [p[:r].sum() / r for p, r in zip(precisions, relevant)],
        "r_precision": [hits[:r].mean() for hits, r in zip(lists, relevant)],
    }
    counts = {
        "num_queries": len(lists),
        "num_queries_without_positive": len(query) - len(lists),
        "num_gallery": len(gallery),
    }
    return {name: np.mean(values) if lists else None for name, values in mean.items()} | counts


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_queries=st.integers(1, 12),
    num_gallery=st.integers(1, 20),
    levels=st.sampled_from([2, 50]),
    metric=st.sampled_from(["dot", "euclidean"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    with_gallery=st.booleans(),
)
def test_scores_equal_those_of_a_slow_evaluation(
    seed: int, num_queries: int, num_gallery: int, levels: int, metric: str, dtype: type, with_gallery: bool
) -> None:
    generator = np.random.default_rng(seed)
    query = generator.integers(levels, size=(num_queries, 3)).astype(dtype)
    labels = generator.integers(-1, 4, size=num_queries)
    if with_gallery:
        gallery = generator.integers(levels, size=(num_gallery, 3)).astype(dtype)
        gallery_labels = generator.integers(-1, 4, size=num_gallery)
        ids = generator.integers(6, size=num_queries), generator.integers(6, size=num_gallery)
        extra = (gallery, gallery_labels, metric, *ids)
    else:
        gallery, gallery_labels, ids = query, labels, (np.arange(num_queries), np.arange(num_queries))
        extra = (None, None, metric)
    found = retrieval.scores(query, labels, [1, 3], *extra)
    expected = _slow_scores(query, labels, gallery, gallery_labels, ids, metric)
    assert found == {name: None if v is None else pytest.approx(v) for name, v in expected.items()}


def test_scores_do_not_depend_on_blocks_and_agree_with_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(80, 8, generator=generator)
    # Ragged classes: one image, two, a few, many.
    labels = torch.tensor([0] + [1] * 2 + [2] * 7 + [3] * 30 + [4] * 40)
    whole = retrieval.scores(features, labels, [1, 5])
    monkeypatch.setattr(retrieval, "_BLOCK_SCORES", 80 * 3)
    assert retrieval.scores(features, labels, [1, 5]) == whole
    unit = torch.nn.functional.normalize(features)
    similarities = unit @ unit.T
    values = []
    for row in range(1, 80):
        others = torch.arange(80) != row
        values.append(average_precision_score(labels[others] == labels[row], similarities[row, others]))
    assert whole["map"] == pytest.approx(np.mean(values))
    assert (whole["num_queries"], whole["num_queries_without_positive"]) == (79, 1)


def test_recall_agrees_with_the_search() -> None:
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 20
    ids = np.arange(60)
    _, rows = search(features, features, 5, query_ids=ids, gallery_ids=ids, metric="cosine")
    hits = labels[rows] == labels[:, None]
    scores = retrieval.scores(features, labels, (1, 5))
    assert scores["recall@1"] == pytest.approx(hits[:, 0].double().mean().item())
    assert scores["recall@5"] == pytest.approx(hits.any(dim=1).double().mean().item())


def test_an_exact_duplicate_under_another_id_stays_a_neighbour() -> None:
    # Removing "the first result" instead of the query's own id would leave query 1 in its own list.
    features, labels = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 1, 1])
    scores = retrieval.scores(features, labels, [1, 2])
    # Query 0 has no positive. Query 1 finds 0, then 2; query 2 finds 0 and 1 equal, the lower row first.
    assert scores["recall@1"] == 0
    assert scores["recall@2"] == 1
    assert scores["map"] == 0.5


def test_a_repeated_id_is_one_picture() -> None:
    features, labels = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 0, 0])
    scores = retrieval.scores(features, labels, [1], query_ids=["a", "a", "b"])
    assert scores["map@r"] == 1.0
    everything = retrieval.scores(features, labels, [1], features, labels)
    assert everything["num_queries"] == 3
    assert retrieval.scores(features[:2], labels[:2], [1], query_ids=["a", "a"])["num_queries"] == 0


def test_perfect_retrieval_scores_one() -> None:
    features = torch.eye(4).repeat_interleave(3, dim=0)
    scores = retrieval.scores(features, torch.arange(4).repeat_interleave(3), [1], metric="euclidean")
    assert [scores[name] for name in ("recall@1", "map", "map@r", "r_precision")] == [1, 1, 1, 1]


def test_permuting_the_rows_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(40, 6, generator=generator), torch.arange(40) % 7
    order = torch.randperm(40, generator=generator)
    expected = retrieval.scores(features.double(), labels, [1, 4])
    assert retrieval.scores(features[order].double(), labels[order], [1, 4]) == pytest.approx(expected)


def test_nothing_to_score_gives_none() -> None:
    scores = retrieval.scores(torch.randn(3, 2), torch.tensor([0, 1, 2]), [1])
    assert [scores[name] for name in ("recall@1", "map", "map@r", "r_precision")] == [None] * 4
    empty = retrieval.scores(torch.ones(2, 2), [0, 0], [1], torch.ones(0, 2), [])
    assert (empty["map"], empty["num_queries_without_positive"]) == (None, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ks": []}, "at least one K"),
        ({"ks": [0]}, "each at least 1"),
        ({"labels": [0, 1]}, "query labels are .* for 3 query vectors"),
        ({"gallery_labels": [0]}, "give the gallery too"),
        ({"gallery": torch.ones(2, 2)}, "no labels; give gallery_labels"),
        ({"gallery": torch.ones(2, 2), "gallery_labels": [0]}, "gallery labels are"),
        ({"gallery": torch.ones(2, 2), "gallery_labels": [0, 1], "query_ids": [1, 2, 3]}, "or neither"),
        ({"metric": "manhattan"}, "cosine, euclidean, dot"),
        ({"features": torch.full((3, 2), float("inf"))}, "holds NaN or infinity"),
    ],
)
def test_bad_input_is_refused_with_its_reason(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        retrieval.scores(**{"features": torch.ones(3, 2), "labels": [0, 0, 1], "ks": [1], **change})
