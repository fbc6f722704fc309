from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.retrieval.mutual import ranks as module
from shelfmark.retrieval.mutual.ranks import mutual_ranks


def _slow_ranks(vectors: np.ndarray, labels: np.ndarray, most: int, metric: str) -> dict[int, list[int]]:
    found = {}
    for query, label in enumerate(labels):
        others = [row for row in range(len(labels)) if row != query]
        if metric == "euclidean":
            value = {row: -((vectors[row] - vectors[query]) ** 2).sum() for row in others}
        else:
            value = {row: vectors[row] @ vectors[query] for row in others}
        ranked = sorted(others, key=lambda row: (-value[row], row))
        ranks = [place for place, row in enumerate(ranked, start=1) if labels[row] == label]
        if label >= 0 and 1 <= len(ranks) <= most:
            found[query] = ranks
    return found


def _found(vectors: torch.Tensor, labels: np.ndarray, most: int, metric: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for rows, ranks in mutual_ranks(vectors, labels, most, metric):
        for row, values in zip(rows.tolist(), ranks.ranks):
            assert row not in found
            found[row] = values[values.isfinite()].tolist()
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_images=st.integers(1, 60),
    num_classes=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 50]),
    metric=st.sampled_from(["dot", "euclidean"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    most=st.sampled_from([0, 1, 3, 7]),
    tiles_at_a_time=st.sampled_from([1, 2, 4]),
)
def test_ranks_equal_places_in_sorted_lists_whatever_the_tiles(
    seed: int,
    num_images: int,
    num_classes: int,
    levels: int,
    metric: str,
    dtype: torch.dtype,
    most: int,
    tiles_at_a_time: int,
) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers: exact products, many ties. Classes of 1 image, of a few and of more than `most`; label -1.
    vectors = generator.integers(-levels, levels, size=(num_images, 3)).astype(float)
    labels = generator.integers(-1, num_classes, size=num_images)
    with pytest.MonkeyPatch.context() as patch:
        # Eight images a tile, so that most are compared across tiles.
        patch.setattr(module, "_EDGE", 8)
        patch.setattr(module, "_TILES_AT_A_TIME", tiles_at_a_time)
        found = _found(torch.from_numpy(vectors).to(dtype), labels, most, metric)
    assert found == _slow_ranks(vectors, labels, most, metric)


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_exact_duplicates_tie_though_their_scores_are_rounded_and_lie_in_several_tiles(metric: str) -> None:
    # Twenty pictures three times each, as other classes: of the equals the lower row is ahead.
    drawn = torch.nn.functional.normalize(torch.randn(20, 33, generator=torch.Generator().manual_seed(0)))
    vectors, labels = drawn.repeat(3, 1), np.repeat(np.arange(30), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_EDGE", 16)
        found = _found(vectors, labels, 1, metric)
    scores = (vectors[:20].double() @ drawn.double().T).repeat(3, 3)
    for query in range(60):
        positive = query ^ 1
        ahead = scores[query] > scores[query, positive] + 1e-9
        same = (scores[query] - scores[query, positive]).abs() < 1e-9
        ahead |= same & (torch.arange(60) < positive)
        ahead[query] = False
        assert found[query] == [1 + int(ahead.sum())]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_number_of_threads_changes_nothing(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    vectors, labels = torch.from_numpy(generator.normal(size=(300, 5))), generator.integers(60, size=300)
    whole = _found(vectors, labels, 32, "dot")
    monkeypatch.setattr(module, "_EDGE", 40)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        assert _found(vectors, labels, 32, "dot") == whole
    finally:
        torch.set_num_threads(before)


def test_no_images_have_no_ranks() -> None:
    assert _found(torch.empty(0, 3), np.empty(0, dtype=np.int64), 3, "euclidean") == {}
    assert _found(torch.ones(2, 3), np.array([-1, -1]), 3, "dot") == {}
