"""Recall that is promised and measured, ids that must agree, and an index laid out anew: against exact search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.strings import Strings
from shelfmark.retrieval import Neighbours, search
from shelfmark.retrieval.effort import PROMISED
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_check import check_ids, check_recall
from shelfmark.retrieval.index_compact import compacted, reason_to_compact
from shelfmark.retrieval.index_files import read_index, write_index
from shelfmark.retrieval.index_kinds import KINDS, parameters_for
from shelfmark.retrieval.recall import exact_sample

NUM, DIM = 3000, 32
FACTS = {"checkpoint_sha256": "0" * 64}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def hard(num: int, seed: int = 0) -> np.ndarray:
    """Directions without any clusters, so that the neighbours of a vector lie in many lists."""
    rows = np.random.default_rng(seed).normal(size=(num, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def records(num: int, first: int = 0) -> Records:
    numbers = range(first, first + num)
    ids = Strings.of(f"id{number}" for number in numbers)
    return Records(ids, np.array(numbers, np.int64), ids)


def recall(index: Index, vectors: np.ndarray, query: np.ndarray) -> float:
    """The part of the exact ten nearest that are found, with sets and a plain sort."""
    exact = np.argsort(-(query.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :10]
    found = index.search(query, 10).ids
    return float(np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found.tolist(), exact.tolist())]))


@pytest.fixture(scope="module")
def lists() -> Index:
    return Index.build(hard(NUM), records(NUM), kind="ivf_flat", facts=FACTS)


def test_lists_are_read_until_vectors_without_clusters_are_found_too(lists: Index, tmp_path: Path) -> None:
    fixed = parameters_for("ivf_flat", NUM, DIM)
    before = Index.build(hard(NUM), records(NUM), kind="ivf_flat", parameters=fixed)
    new = hard(200, seed=1)
    assert before.promise is None
    assert recall(before, hard(NUM), new) < 0.7
    assert lists.promise is not None
    assert (lists.promise.promised, lists.promise.is_kept) == (PROMISED, True)
    assert lists.promise.measured.lower >= PROMISED
    assert recall(lists, hard(NUM), new) >= PROMISED
    # No more is read than it takes: a tenth less would not be sure to find as much.
    probes = lists.layout.parameters["num_probes"]
    assert fixed["num_probes"] < probes < lists.layout.parameters["num_lists"]
    write_index(tmp_path / "index", lists)
    again = read_index(tmp_path / "index")
    assert (again.layout, again.promise, again.num_built) == (lists.layout, lists.promise, NUM)


def test_where_the_default_finds_enough_it_stays() -> None:
    centres = np.random.default_rng(3).normal(size=(75, DIM))
    easy = np.repeat(centres, 40, axis=0) + 0.05 * np.random.default_rng(4).normal(size=(NUM, DIM))
    index = Index.build(easy.astype(np.float32), records(NUM), kind="ivf_flat")
    assert index.layout.parameters == parameters_for("ivf_flat", NUM, DIM)
    assert index.promise is not None
    assert index.promise.promised == PROMISED


def test_compression_that_loses_too_much_is_promised_for_what_it_finds() -> None:
    index = Index.build(hard(1200), records(1200), kind="ivf_pq")
    assert index.promise is not None
    assert not index.promise.is_kept
    everything = {**index.layout.parameters, "num_probes": index.layout.parameters["num_lists"]}
    most = Index.build(hard(1200), records(1200), kind="ivf_pq", parameters=everything)
    new = hard(200, seed=1)
    assert index.promise.promised <= recall(index, hard(1200), new) + 0.02
    assert abs(recall(index, hard(1200), new) - recall(most, hard(1200), new)) < 0.05


def test_the_exact_sample_is_that_of_a_plain_sort_with_ties_counted_and_the_query_left_out() -> None:
    vectors = hard(90)
    vectors[40:44] = vectors[7]
    # Forty copies of one vector: no list of ten among them is right.
    vectors[45:89] = vectors[44]
    own = np.array([3, 7, 44])
    blocks = [(np.arange(50), vectors[:50]), (np.arange(50, 90), vectors[50:])]
    sample = exact_sample(own, vectors[own], blocks, "cosine")
    assert sample is not None
    assert sample.ids.tolist() == [3, 7]
    for one, nearest, counts in zip(sample.ids, sample.nearest, sample.counts):
        scores = vectors @ vectors[one]
        scores[one] = -np.inf
        last = np.sort(scores)[-10]
        assert set(nearest[counts].tolist()) == set(np.flatnonzero(scores >= last - 1e-6).tolist())
    exact = sample.recall_of(lambda query, k: search(query, vectors, k))
    assert (exact.value, exact.error, exact.num_queries) == (1.0, 0.0, 2)
    # Of the first query's ten nearest six are missed, of the other's none.
    scores, rows = search(sample.vectors, vectors, 11)
    rows[0, 1:7] = -1
    without = sample.recall_of(lambda query, k: Neighbours(scores, rows))
    assert without.value == pytest.approx((0.4 + 1) / 2)
    assert without.error == pytest.approx(0.3 / 2**0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_came_and_went_ids_agree_and_the_recall_is_that_of_exact_search(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(KINDS.index(kind))
    vectors = hard(900)
    index, left = Index.build(vectors[:500], records(500), kind=kind), np.arange(500)
    for first in (500, 700):
        gone = generator.choice(len(left), 120, replace=False)
        index.remove(gone)
        index.add(vectors[first : first + 200], records(200, first))
        left = np.append(np.delete(left, gone), np.arange(first, first + 200))
        write_index(tmp_path / "index", index)
        index = read_index(tmp_path / "index")
        assert check_ids(index).is_right
        assert index.num_built == (left < 500).sum()
    found = check_recall(index)
    assert found.overall is not None
    assert found.built is not None
    assert found.later is not None
    assert (found.built.num_queries, found.later.num_queries) == (index.num_built, len(left) - index.num_built)
    kept = index.vectors()
    if kind != "ivf_pq":
        np.testing.assert_allclose(kept, vectors[left], atol=1e-6)
    scores = kept.astype(np.float64) @ kept.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    rows = index.search(kept, 11).ids
    parts = np.array([len(set(one[one != own][:10]) & set(exact[own])) / 10 for own, one in enumerate(rows)])
    # Equal scores of compressed vectors count as found.
    slack = 0.02 if kind == "ivf_pq" else 1e-9
    for recall_now, of_age in ((found.built, left < 500), (found.later, left >= 500), (found.overall, left >= 0)):
        assert recall_now.value == pytest.approx(parts[of_age].mean(), abs=slack)
    if kind == "flat":
        assert found.overall.value == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_structure_that_lost_an_id_and_a_table_that_lost_a_row_are_found(kind: str, tmp_path: Path) -> None:
    import faiss

    index = Index.build(hard(400), records(400), kind=kind)
    index.remove(np.array([5, 17]))
    write_index(tmp_path / "index", index)
    whole = read_index(tmp_path / "index")
    assert check_ids(whole).is_right
    # The table loses a row, and all that counts its rows goes with it.
    lost = read_index(tmp_path / "index")
    lost.store.ids, lost.records = np.delete(lost.store.ids, 9), lost.records.take(np.delete(np.arange(398), 9))
    write_index(tmp_path / "lost", lost)
    found = check_ids(read_index(tmp_path / "lost"))
    assert (found.num_missing, found.num_unknown) == (0, 1)
    # The structure loses the last vector: a graph cannot lose another.
    if kind == "hnsw":
        shorter = faiss.IndexHNSWFlat(DIM, 32, faiss.METRIC_INNER_PRODUCT)
        shorter.add(hard(400)[:399])
        whole.store.structure = shorter
    else:
        whole.store.structure.remove_ids(faiss.IDSelectorBatch(whole.store.ids[-1:]))
    found = check_ids(whole)
    assert (found.num_missing, found.num_unknown, found.missing) == (1, 0, ("id399",))


def test_a_graph_laid_out_anew_is_free_of_removed_nodes_and_answers_alike(tmp_path: Path) -> None:
    vectors, query = hard(800), hard(60, seed=2)
    # It looks at all of so few vectors, so its answers are exact.
    index = Index.build(vectors, records(800), kind="hnsw", parameters={"ef_search": 800}, facts=FACTS)
    index.remove(np.arange(0, 800, 2))
    before, ids = index.search(query, 10), index.records.ids
    assert reason_to_compact(index) == "400 removed vectors take room"
    made = compacted(index)
    assert (made.store.num_dead, made.num_built, made.num_removed, made.facts) == (0, 400, 0, FACTS)
    assert made.layout.metric == "cosine"
    assert list(made.records.ids) == list(ids)
    np.testing.assert_array_equal(made.vectors(), index.vectors())
    after = made.search(query, 10)
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert check_ids(made).is_right
    write_index(tmp_path / "before", index)
    write_index(tmp_path / "after", made)
    sizes = [(tmp_path / name / "index.faiss").stat().st_size for name in ("before", "after")]
    assert sizes[1] < 0.6 * sizes[0]
    assert reason_to_compact(made) is None


def test_lists_that_the_index_has_outgrown_or_that_read_too_little_are_laid_out_anew(lists: Index) -> None:
    assert reason_to_compact(lists) is None
    small = Index.build(hard(NUM)[:300], records(300), kind="ivf_flat")
    small.add(hard(NUM)[300:], records(NUM - 300, 300))
    assert "laid out for 300 vectors and hold 3,000" in str(reason_to_compact(small))
    made = compacted(small)
    assert made.layout == lists.layout
    assert made.promise == lists.promise
    old = Index.build(hard(NUM), records(NUM), kind="ivf_flat", parameters=parameters_for("ivf_flat", NUM, DIM))
    assert "an index of today promises 95.0%" in str(reason_to_compact(old))
    assert compacted(old).layout == lists.layout
    for kind in ("flat", "hnsw", "ivf_pq"):
        assert reason_to_compact(Index.build(hard(300), records(300), kind=kind)) is None


def test_an_emptied_graph_is_laid_out_anew_too() -> None:
    index = Index.build(hard(50), records(50), kind="hnsw")
    index.remove(np.arange(50))
    made = compacted(index)
    assert (len(made), made.store.num_dead) == (0, 0)
    made.add(hard(20), records(20))
    assert made.search(hard(20)[:1], 1).ids.tolist() == [[0]]
