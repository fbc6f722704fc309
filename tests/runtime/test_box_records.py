"""Features, indexes and scores keep the boxes of one picture apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.table import Table
from shelfmark.evaluation import retrieval
from shelfmark.pipelines.search import gallery_images
from shelfmark.recipe import Recipe
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import read_index, write_index
from shelfmark.runtime.paired_pictures import paired_pictures
from shelfmark.runtime.retrieval_scores import query_gallery
from shelfmark.runtime.stored_features import paths_hash

VECTORS = np.array([[1, 0], [0.99, 0.1], [0.9, 0.5], [0, 1]], dtype=np.float32)
BOXES = np.array([[0, 0, 5, 5], [5, 0, 5, 5], [np.nan] * 4, [0, 5, 5, 5]], dtype=np.float32)
PATHS = Strings.of(["shelf.jpg", "shelf.jpg", "studio.jpg", "shelf.jpg"])
IDS = Strings.of(["a", "b", "c", "d"])
LABELS = np.array([0, 0, 0, 1])


def features() -> Embeddings:
    return Embeddings(VECTORS, LABELS, IDS, PATHS, boxes=BOXES)


def table() -> Table:
    return Table(PATHS, LABELS, IDS, 2, Path("/data"), "", boxes=BOXES)


def test_stored_features_keep_their_boxes_and_those_without_have_the_bytes_of_before(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "boxed", features())
    np.testing.assert_array_equal(read_embeddings(tmp_path / "boxed").boxes, BOXES)
    write_embeddings(tmp_path / "whole", replace(features(), boxes=None))
    assert read_embeddings(tmp_path / "whole").boxes is None
    with np.load(tmp_path / "whole" / "rows.npz") as arrays:
        assert "boxes" not in arrays.files


def test_features_of_other_boxes_do_not_fit() -> None:
    moved = replace(table(), boxes=BOXES + np.float32(1))
    assert len({paths_hash(table()), paths_hash(moved), paths_hash(replace(table(), boxes=None))}) == 3


def test_an_index_keeps_the_boxes_of_its_vectors(tmp_path: Path) -> None:
    write_index(tmp_path / "index", Index.build(VECTORS, Records(IDS, LABELS, PATHS, boxes=BOXES), kind="flat"))
    index = read_index(tmp_path / "index")
    index.remove(np.array([0]))
    more = Strings.of(["e"])
    index.add(VECTORS[:1], Records(more, np.array([1]), more))
    np.testing.assert_array_equal(index.records.boxes, np.concatenate([BOXES[1:], BOXES[2:3]]))
    near = gallery_images(index.records, np.array([1.0, 0.5]), np.array([0, 1]))
    assert [one.box for one in near] == [{"bbox": [5, 0, 5, 5]}, {}]


def test_boxes_that_are_none_are_a_damaged_index(tmp_path: Path) -> None:
    short = Records(IDS, LABELS, PATHS, boxes=BOXES[:3])
    write_index(tmp_path / "index", Index.build(VECTORS, Records(IDS, LABELS, PATHS, boxes=BOXES), kind="flat"))
    index = read_index(tmp_path / "index")
    index.records = short
    write_index(tmp_path / "short", index)
    with pytest.raises(UserError, match="damaged: its rows do not fit together"):
        read_index(tmp_path / "short")


def test_a_box_does_not_find_itself_and_finds_the_others_of_its_picture() -> None:
    sides = query_gallery(Recipe(), features(), None)
    found = retrieval.search_scores(sides, (1,), "cosine")
    assert found.first_rank.tolist()[:3] == [1, 1, 1]
    assert found.means()["num_queries_without_positive"] == 1
    # Without the boxes of its own picture, the first box finds the studio picture alone, and that finds a box.
    apart = query_gallery(Recipe(), features(), None, ids=np.array([0, 0, 1, 0]))
    without = retrieval.search_scores(apart, (1,), "cosine")
    assert without.first_rank.tolist()[:3] == [1, 1, 1]
    assert without.means()["num_queries"] == 3


def test_runs_are_compared_box_by_box() -> None:
    other = table().take([3, 1, 2])
    paired = paired_pictures([table(), other], [np.arange(4), np.arange(3)], "validation images")
    assert paired.by == "file"
    assert [places.tolist() for places in paired.places] == [[1, 2, 3], [1, 2, 0]]
