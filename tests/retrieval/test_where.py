"""Conditions on the images of an index, and searches of those that meet them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.columns import NO_NUMBER, column_of, joined
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.retrieval import search
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import read_index, write_index
from shelfmark.retrieval.where import rows_where

QUOTED = 'a\' or "1"==1; id >= 0'


def records() -> Records:
    names = Strings.of("abcdef")
    shops, years = Strings.of(["Süd", "Nord", "", QUOTED, "Süd", "Nord"]), np.array([1, 2, 3, 2, NO_NUMBER, -5])
    columns = {"shop": shops, "year": years}
    return Records(names, np.array([0, 0, 1, 2, 1, -1]), names, {0: "tea"}, {0: "drinks", 1: "food", 2: ""}, columns)


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (["shop=Süd"], [0, 4]),
        (["shop=Süd", "shop=Nord"], [0, 1, 4, 5]),
        (["shop!=Süd"], [1, 3, 5]),
        (["shop!=Süd", "shop!=Nord"], [3]),
        ([f"shop={QUOTED}"], [3]),
        (["year=2"], [1, 3]),
        (["year>=2"], [1, 2, 3]),
        (["year > 1", "year<3"], [1, 3]),
        (["year<=0"], [5]),
        (["year!=2"], [0, 2, 5]),
        (["year>-99999999999999999999"], [0, 1, 2, 3, 5]),
        (["group=drinks"], [0, 1]),
        (["group!=drinks"], [2, 4]),
        (["category_id=1", "category_id=2"], [2, 3, 4]),
        (["category_id<5"], [0, 1, 2, 3, 4]),
        (["group=food", "shop=Süd"], [4]),
    ],
)
def test_conditions_hold_together_and_no_value_meets_none(conditions: list[str], rows: list[int]) -> None:
    found = rows_where(records(), conditions)
    assert found is not None
    assert found.tolist() == rows


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (["shop"], "is no condition"),
        (["=3"], "is no condition"),
        (["shp=Süd"], "no column 'shp'. It has: category_id, group, shop, year. Did you mean 'shop'"),
        (["shop<Süd"], "shop is text, which is compared by = or !="),
        (["year=two"], "year is a whole number, and 'two' is none"),
        (["year=2", "shop=Süd"], "no image of the index fits --where 'year=2' --where 'shop=Süd'"),
    ],
)
def test_a_condition_that_cannot_be_met_is_told(conditions: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told.replace("(", r"\(")):
        rows_where(records(), conditions)


def test_columns_are_kept_with_the_index_and_grow_with_it(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    write_index(tmp_path / "index", Index.build(vectors, records(), kind="flat"))
    index = read_index(tmp_path / "index")
    more = Records(Strings.of("xy"), np.array([1, 7]), Strings.of("xy"), {}, {7: "food"}, {"year": np.array([2, 9])})
    index.add(vectors[:2], more)
    index.remove(np.array([0, 1]))
    write_index(tmp_path / "index", index)
    kept = read_index(tmp_path / "index").records
    assert list(kept.columns["shop"]) == ["", QUOTED, "Süd", "Nord", "", ""]
    assert kept.columns["year"].tolist() == [3, 2, NO_NUMBER, -5, 2, 9]
    # The group of a class without images is forgotten.
    assert kept.groups == {1: "food", 2: "", 7: "food"}
    one = Strings.of("z")
    with pytest.raises(UserError, match="'shop' has whole numbers in some annotations and text in others"):
        index.add(vectors[:1], Records(one, np.array([1]), one, {}, {}, {"shop": np.array([1])}))


def test_a_column_has_numbers_or_texts() -> None:
    assert column_of([1, None, 3]).tolist() == [1, NO_NUMBER, 3]
    assert list(column_of(["x", None, ""])) == ["x", "", ""]
    assert list(column_of([True, None, False])) == ["true", "", "false"]
    for other in ([1, "x"], [1.5], [[1]], [None], [2**63], [1, True]):
        assert column_of(other) is None
    assert list(joined([({}, 1), ({"a": Strings.of(["x"])}, 1)])["a"]) == ["", "x"]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf_flat"])
@pytest.mark.parametrize("num_chosen", [3, 60, 700, 1190])
def test_a_search_among_some_images_finds_the_nearest_of_these(kind: str, num_chosen: int) -> None:
    draw = np.random.default_rng(num_chosen)
    vectors, query = (draw.normal(size=(num, 16)).astype(np.float32) for num in (1200, 20))
    names = Strings.of(str(number) for number in range(1200))
    index = Index.build(vectors, Records(names, np.zeros(1200, np.int64), names), kind=kind)
    index.remove(np.arange(0, 1200, 400))
    left = np.delete(vectors, np.arange(0, 1200, 400), axis=0)
    among = np.sort(draw.choice(len(index), num_chosen, replace=False))
    found, wanted = index.search(query, 10, among), search(query, left[among], 10, metric="cosine")
    rows = np.where(wanted.ids < 0, -1, among[wanted.ids])
    assert set(found.ids.ravel()) <= {-1, *among.tolist()}
    if kind == "flat":
        np.testing.assert_array_equal(found.ids, rows)
    hits = [len({*one} & {*other}) / len({*other}) for one, other in zip(found.ids.tolist(), rows.tolist())]
    assert np.mean(hits) > 0.9
