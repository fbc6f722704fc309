from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.embeddings import release_pages
from shelfmark.evaluation import neighbour_sample as module
from shelfmark.evaluation.neighbour_sample import neighbour_sample
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.query_gallery import QueryGallery

# Angles in degrees: the nearest by cosine is the nearest by angle.
ANGLES = np.array([0.0, 10.0, 25.0, 90.0, 93.0])
LABELS = np.array([0, 0, 1, 1, -1])


def _vectors(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1).astype(np.float32)


def test_the_best_positive_and_the_hardest_negative_are_those_of_the_hand_worked_case() -> None:
    found = neighbour_sample(QueryGallery.of(_vectors(ANGLES), LABELS), k=2)
    # The row without a label is no query, but a neighbour, and a negative.
    assert found.queries.tolist() == [0, 1, 2, 3]
    assert found.nearest.tolist() == [[1, 2], [0, 2], [1, 0], [4, 2]]
    assert found.hits.tolist() == [[True, False], [True, False], [False, False], [False, True]]
    cosine = np.cos(np.radians([10, 10, 65, 65]))
    assert found.positive == pytest.approx(cosine, abs=1e-6)
    assert found.negative == pytest.approx(np.cos(np.radians([25, 15, 15, 3])), abs=1e-6)
    assert found.recall_at(1).tolist() == [True, True, False, False]
    assert found.total == 4


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_of_the_gallery_find_what_an_exact_search_finds(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors, labels = generator.normal(size=(60, 8)).astype(np.float32), generator.integers(0, 12, 60)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    sides = QueryGallery.of(vectors, labels)
    found = neighbour_sample(sides, most=25, k=5, metric=metric)
    exact = search(vectors[found.queries], vectors, 5, "torch", found.queries, np.arange(60), metric)
    assert np.array_equal(found.nearest, exact.ids)
    assert found.similarity == pytest.approx(exact.scores, abs=1e-5)
    assert len(found.queries) <= 25 < found.total


def test_a_query_without_another_image_of_its_product_is_left_out() -> None:
    assert neighbour_sample(QueryGallery.of(_vectors(ANGLES[:3]), LABELS[:3])).queries.tolist() == [0, 1]


def test_a_memory_map_reads_the_same_after_its_pages_were_given_back(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.arange(5000.0))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="c")
    before = mapped.sum()
    release_pages(mapped)
    release_pages(np.arange(3.0))  # not mapped: stays as it is
    assert mapped.sum() == before == 12_497_500
