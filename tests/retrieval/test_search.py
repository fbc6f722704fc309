from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.retrieval import exact, faiss_module, nearest, search

ENGINES = ["torch", "faiss"]


def _slow_search(
    query: np.ndarray, gallery: np.ndarray, k: int, metric: str, query_ids: list | None, gallery_ids: list | None
) -> tuple[np.ndarray, np.ndarray]:
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    scores = np.full((len(query), k), -np.inf)
    rows = np.full((len(query), k), -1)
    for place, vector in enumerate(query):
        allowed = [row for row in range(len(gallery)) if query_ids is None or query_ids[place] != gallery_ids[row]]
        if metric == "euclidean":
            value = {row: -np.linalg.norm(gallery[row] - vector) for row in allowed}
        else:
            value = {row: vector @ gallery[row] for row in allowed}
        best = sorted(allowed, key=lambda row: (-np.float32(value[row]), row))[:k]
        rows[place, : len(best)] = best
        scores[place, : len(best)] = [value[row] for row in best]
    return scores, rows


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), num_gallery=st.integers(1, 40), k=st.integers(1, 45), levels=st.sampled_from([2, 9]))
def test_neighbours_equal_those_of_a_slow_search_with_ties_and_own_ids(
    engine: str, metric: str, seed: int, num_gallery: int, k: int, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    query = generator.integers(levels, size=(5, 3)).astype(np.float32)
    gallery = generator.integers(levels, size=(num_gallery, 3)).astype(np.float32)
    query_ids, gallery_ids = generator.integers(8, size=5), generator.integers(8, size=num_gallery)
    for ids in ((None, None), (query_ids, gallery_ids)):
        scores, rows = search(query, gallery, k, engine, *ids, metric=metric)
        expected_scores, expected_rows = _slow_search(query, gallery, k, metric, *ids)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)


@pytest.mark.parametrize("metric", ["dot", "cosine", "euclidean"])
def test_engines_and_blocks_give_the_same_neighbours_and_scores(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(500, 16, generator=generator)
    gallery[250:300] = gallery[:50]
    query = gallery[::7] + 0
    expected = search(query, gallery, 12, "torch", metric=metric)
    for engine in ("faiss", "auto"):
        for found, wanted in zip(search(query, gallery, 12, engine, metric=metric), expected):
            assert torch.equal(found, wanted)
    monkeypatch.setattr(exact, "_BLOCK_QUERIES", 10)
    monkeypatch.setattr(exact, "_BLOCK_GALLERY", 33)
    monkeypatch.setattr(exact, "_PAIR_VALUES", 100)
    monkeypatch.setattr(nearest, "_BLOCK_QUERIES", 9)
    for found, wanted in zip(search(query, gallery, 12, "torch", metric=metric), expected):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("num_gallery", [30, 300])
def test_any_number_of_duplicates_comes_in_row_order(engine: str, num_gallery: int) -> None:
    vector = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    gallery = vector.repeat(num_gallery, 1)
    gallery[3] = -vector
    _, rows = search(vector, gallery, 5, engine)
    assert rows.tolist() == [[0, 1, 2, 4, 5]]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_own_id_is_excluded_and_a_duplicate_stays(engine: str) -> None:
    # Row 0 and row 1 are the same picture under two ids; the second stands before the first query's own row.
    vectors = np.array([[1.0, 0], [1, 0], [0, 1]], dtype=np.float32)
    _, rows = search(vectors, vectors, 2, engine, [10, 11, 12], [10, 11, 12])
    assert rows.tolist() == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.parametrize("engine", ENGINES)
def test_text_ids_and_an_id_held_by_many_rows_work(engine: str) -> None:
    gallery = torch.eye(40)[:, :3] + 1
    ids = ["a.jpg"] * 38 + ["b.jpg", "c.jpg"]
    _, rows = search(gallery[:1], gallery, 3, engine, Strings.of(["a.jpg"]), ids)
    assert rows.tolist() == [[38, 39, -1]]


@pytest.mark.parametrize("engine", ENGINES)
def test_more_neighbours_than_the_gallery_holds_are_padded(engine: str) -> None:
    scores, rows = search(torch.ones(2, 3), torch.ones(1, 3), 3, engine)
    assert rows.tolist() == [[0, -1, -1]] * 2
    assert scores.tolist() == [[3, -torch.inf, -torch.inf]] * 2
    scores, rows = search(torch.ones(2, 3), torch.ones(0, 3), 2, engine)
    assert rows.tolist() == [[-1, -1]] * 2
    assert search(torch.ones(0, 3), torch.ones(4, 3), 2, engine)[1].shape == (0, 2)


def test_results_are_of_the_query_s_kind_and_dtype() -> None:
    double = np.random.default_rng(0).standard_normal((4, 3))
    scores, rows = search(double, torch.from_numpy(double), 2)
    assert isinstance(scores, np.ndarray)
    assert scores.dtype == np.float64
    assert isinstance(rows, np.ndarray)
    assert search(torch.ones(2, 3).half(), double, 1)[0].dtype == torch.float32


def test_float64_scores_keep_their_digits() -> None:
    gallery = torch.tensor([[1.0], [1.0 + 1e-12]], dtype=torch.float64)
    assert search(gallery[:1], gallery, 2)[1].tolist() == [[1, 0]]


def test_the_cosine_of_a_zero_vector_is_zero() -> None:
    scores, rows = search(torch.zeros(1, 2), torch.tensor([[-1.0, 0], [0, 0], [3, 4]]), 3, metric="cosine")
    assert scores.tolist() == [[0, 0, 0]]
    assert rows.tolist() == [[0, 1, 2]]
    scores, _ = search(torch.tensor([[3.0, 4]]), torch.tensor([[0.0, 0], [6, 8]]), 2, metric="cosine")
    assert scores.tolist() == [[1, 0]]


def test_a_read_only_memory_map_is_searched_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    vectors = np.eye(3, dtype=np.float32)
    vectors.setflags(write=False)
    assert search(vectors, vectors, 1)[1].tolist() == [[0], [1], [2]]
    assert not recwarn.list


def test_the_inputs_are_never_changed() -> None:
    vectors = torch.tensor([[3.0, 4], [1, 1]])
    for metric in ("dot", "cosine", "euclidean"):
        search(vectors, vectors, 1, metric=metric)
    assert vectors.tolist() == [[3, 4], [1, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"engine": "fais"}, "Did you mean 'faiss'"),
        ({"metric": "l2"}, "not one of: cosine, euclidean, dot"),
        ({"query_ids": [1, 2]}, "or neither"),
        ({"query_ids": [1], "gallery_ids": [1, 2]}, "1 query ids for 2 query vectors"),
        ({"query_ids": [1, 2], "gallery_ids": ["1", "2"]}, "one kind"),
        ({"gallery": torch.ones(2, 4)}, "3 dimensions and gallery vectors 4"),
        ({"query": torch.ones(3)}, r"expected \(N, D\)"),
        ({"query": torch.tensor([[1.0, 2, 3], [1, float("nan"), 1]])}, "query vector 1 holds NaN"),
        ({"gallery": torch.full((2, 3), 1e25)}, "too large for float32"),
    ],
)
def test_bad_input_is_refused_with_its_reason(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        search(**{"query": torch.ones(2, 3), "gallery": torch.ones(2, 3), "k": 1, **change})


def test_without_faiss_the_error_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_module, "is_installed", lambda: False)
    with pytest.raises(UserError, match="engine=torch"):
        search(torch.ones(2, 3), torch.ones(2, 3), 1, "faiss")
    many = torch.ones(nearest._MANY_QUERIES, 3)
    assert search(many, many, 1)[1].eq(0).all()
