from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch.utils._python_dispatch import TorchDispatchMode

from shelfmark.core.errors import UserError
from shelfmark.evaluation import retrieval
from shelfmark.ops import positive_ranks
from shelfmark.retrieval.mutual import ranks as mutual_ranks
from shelfmark.retrieval.query_gallery import QueryGallery


def _slow_scores(
    query: np.ndarray, labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray, ids: tuple, metric: str
) -> dict[str, float]:
    lists, kept = [], []
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
            kept.append(label)
    precisions = [np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits for hits in lists]
    relevant = [hits.sum() for hits in lists]
    at = {
        k: {
            f"recall@{k}": [hits[:k].any() for hits in lists],
            f"cmc@{k}": [hits[:k].any() for hits in lists],
            f"precision@{k}": [hits[:k].sum() / k for hits in lists],
            f"map@{k}": [p[:k].sum() / min(r, k) for p, r in zip(precisions, relevant)],
        }
        for k in (1, 3)
    }
    classes = {label: [hits[0] for hits, own in zip(lists, kept) if own == label] for label in kept}
    mean = {
        **at[1],
        **at[3],
        "mrr": [1 / (1 + hits.argmax()) for hits in lists],
        "minp": [r / (1 + np.flatnonzero(hits)[-1]) for hits, r in zip(lists, relevant)],
        "mean_class_recall@1": [np.mean(hits) for hits in classes.values()],
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


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_queries=st.integers(1, 25),
    num_gallery=st.integers(1, 25),
    levels=st.sampled_from([2, 50]),
    metric=st.sampled_from(["dot", "euclidean"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    searched=st.sampled_from(["itself", "itself, by ids", "a gallery"]),
    block=st.sampled_from([1, 70, 1 << 20]),
    counted=st.sampled_from([0, 3, 32]),
)
def test_scores_equal_those_of_a_slow_evaluation_however_they_are_found(
    seed: int,
    num_queries: int,
    num_gallery: int,
    levels: int,
    metric: str,
    dtype: type,
    searched: str,
    block: int,
    counted: int,
) -> None:
    generator = np.random.default_rng(seed)
    query = generator.integers(levels, size=(num_queries, 3)).astype(dtype)
    labels = generator.integers(-1, 4, size=num_queries)
    if searched == "a gallery":
        gallery = generator.integers(levels, size=(num_gallery, 3)).astype(dtype)
        gallery_labels = generator.integers(-1, 4, size=num_gallery)
        ids = generator.integers(6, size=num_queries), generator.integers(6, size=num_gallery)
        extra = (gallery, gallery_labels, metric, *ids)
    else:
        own = np.arange(num_queries) if searched == "itself" else generator.integers(20, size=num_queries)
        gallery, gallery_labels, ids = query, labels, (own, own)
        extra = (None, None, metric, None if searched == "itself" else own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_SCORES", {"cpu": block})
        patch.setattr(retrieval, "_MUTUAL_POSITIVES", counted)
        patch.setattr(positive_ranks, "_COUNTED_POSITIVES", counted)
        patch.setattr(mutual_ranks, "_EDGE", 8 * (counted // 8 + 1))
        # The same K twice counts once.
        found = retrieval.scores(query, labels, [1, 3, 3], *extra)
    expected = _slow_scores(query, labels, gallery, gallery_labels, ids, metric)
    assert found == {name: None if v is None else pytest.approx(v) for name, v in expected.items()}


def test_an_exact_duplicate_under_another_id_stays_a_neighbour() -> None:
    # Removing "the first result" instead of the query's own id would leave query 1 in its own list.
    features, labels = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 1, 1])
    scores = retrieval.scores(features, labels, [1, 2])
    # Query 0 has no positive. Query 1 finds 0, then 2; query 2 finds 0 and 1 equal, the lower row first.
    assert scores["recall@1"] == 0
    assert scores["recall@2"] == 1
    assert scores["map"] == 0.5


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


def _ragged(num_classes: int = 12, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(torch.arange(num_classes) % 6 + 1)
    centres = torch.randn(num_classes, 8, generator=generator)
    return centres[labels] + torch.randn(len(labels), 8, generator=generator), labels


def test_scores_agree_with_pytorch_metric_learning() -> None:
    features, labels = _ragged(40)
    features = torch.nn.functional.normalize(features)
    names = {
        "recall@1": "precision_at_1",
        "map": "mean_average_precision",
        "map@r": "mean_average_precision_at_r",
        "r_precision": "r_precision",
        "mrr": "mean_reciprocal_rank",
    }
    calculator = AccuracyCalculator(include=tuple(names.values()), k=len(labels) - 1)
    expected = calculator.get_accuracy(features, labels)
    found = retrieval.scores(features, labels, [1])
    assert found["num_queries_without_positive"] > 0
    for name, peer in names.items():
        assert found[name] == pytest.approx(expected[peer], abs=1e-6), name


def test_the_recall_of_each_class_and_of_each_group_is_that_of_its_queries() -> None:
    features, labels = _ragged()
    found = retrieval.search_scores(QueryGallery.of(features, labels), [1])
    classes, counts, recalls = found.per_class()
    # Classes 0 and 6 have a single image, whose query has no positive.
    assert classes.tolist() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert counts.tolist() == [2, 3, 4, 5, 6] * 2
    hits = found.first_rank == 1
    assert recalls.tolist() == pytest.approx([hits[labels.numpy() == label].mean() for label in classes])
    assert found.means()["mean_class_recall@1"] == pytest.approx(recalls.mean())
    groups = found.shot_groups(np.arange(12), many=8, few=3)
    assert groups == {
        "recall@1_many": pytest.approx(recalls[7:].mean()),
        "recall@1_medium": pytest.approx(recalls[2:7].mean()),
        "recall@1_few": pytest.approx(recalls[:2].mean()),
    }
    assert found.shot_groups(np.full(12, 500))["recall@1_few"] is None
    with pytest.raises(UserError, match="outside the 5 classes"):
        found.shot_groups(np.ones(5))


def test_intervals_lie_about_the_scores_and_shrink_with_more_queries() -> None:
    widths = []
    for num_classes in (20, 200):
        found = retrieval.search_scores(QueryGallery.of(*_ragged(num_classes)), [1, 5])
        means, intervals = found.means(), found.intervals(resamples=200)
        assert set(intervals) == {"recall@1", "recall@5", "map", "map@r", "r_precision", "mrr", "minp"}
        for name, (low, high) in intervals.items():
            assert 0 <= low < means[name] < high <= 1
        widths.append(intervals["map"][1] - intervals["map"][0])
    assert widths[1] < widths[0] / 2


def test_nothing_to_score_has_no_interval_and_no_class() -> None:
    found = retrieval.search_scores(QueryGallery.of(torch.randn(3, 2), torch.tensor([0, 1, 2])), [1])
    assert set(found.intervals(resamples=5).values()) == {None}
    assert found.shot_groups(np.ones(3)) == dict.fromkeys(["recall@1_many", "recall@1_medium", "recall@1_few"])
    assert found.means()["mean_class_recall@1"] is None


@pytest.mark.parametrize("mutual", [0, 32])
def test_memory_grows_neither_with_the_pairs_nor_with_the_classes(mutual: int) -> None:
    # 1,000 x 1,000 scores would take 4 MB, 1,000 x 500 classes 2 MB.
    features, labels = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)), torch.arange(1000) // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_MUTUAL_POSITIVES", mutual)
        patch.setattr(retrieval, "_BLOCK_SCORES", {"cpu": 1 << 16})
        patch.setattr(mutual_ranks, "_EDGE", 256)
        # The watch sees this thread alone.
        patch.setattr(mutual_ranks, "in_threads", map)
        assert _largest_tensor(lambda: retrieval.scores(features, labels, [1, 10])) < 500_000
        assert _most_of_numpy(lambda: retrieval.scores(features, labels, [1, 10])) < 1_000_000


def _largest_tensor(work: Callable[[], object]) -> int:
    """Bytes of the largest tensor that an operation of torch returned."""

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            for one in found if isinstance(found, tuple | list) else [found]:
                if isinstance(one, torch.Tensor):
                    self.largest = max(self.largest, one.untyped_storage().nbytes())
            return found

    with Watch() as watch:
        work()
    return watch.largest


def _most_of_numpy(work: Callable[[], object]) -> int:
    """Bytes that numpy and Python held at their peak."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.gpu
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("counted", [0, 32])
def test_a_gpu_scores_as_the_cpu_does(metric: str, counted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positive_ranks, "_COUNTED_POSITIVES", counted)
    features, labels = _ragged(60)
    features[5:9] = features[4]
    found = retrieval.scores(features.double().cuda(), labels, [1, 5], metric=metric)
    assert found == pytest.approx(retrieval.scores(features.double(), labels, [1, 5], metric=metric))
