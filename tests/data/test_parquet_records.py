"""Annotations as Parquet become the table that the same annotations as JSON become, or an error of the same kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.parquet_records import _given, _numbers, _strings, annotations_parquet, image_list_parquet
from shelfmark.data.table import Table

RECORDS: list[dict[str, Any]] = [
    {"category_id": 2, "fpath": "a/0012.jpg", "image_id": "0012", "weight": 2.0, "is_query": True, "source": "shop"},
    {"category_id": 0, "fpath": "b/é.jpg", "confidence": 0.25, "true_category_id": 2, "bbox": [1.0, 2.0, 3.5, 4.0]},
    {"category_id": None, "fpath": "./a//商.png", "role": "unlabelled", "is_gallery": True},
    {"category_id": 2, "fpath": "four.webp", "image_id": "12"},
]
NAMES = ("x", "y", "z")


def read(file: Path, **options: Any) -> Table:
    return read_annotations(file, file.parent, check_files=False, findings_folder=file.parent / "f", **options)


def test_parquet_and_json_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(annotations_parquet(RECORDS, 3, NAMES, ["g", "g", "h"]))
    groups = {"class_names": NAMES, "groups": ["g", "g", "h"]}
    (tmp_path / "a.json").write_text(json.dumps({"annotations": RECORDS, "num_classes": 3, **groups}))
    ours, theirs = read(tmp_path / "a.parquet"), read(tmp_path / "a.json")
    for name, column in vars(theirs).items():
        found = getattr(ours, name)
        if isinstance(column, Strings):
            assert list(found) == list(column), name
        elif isinstance(column, np.ndarray):
            np.testing.assert_array_equal(found, column, err_msg=name)
            assert found.dtype == column.dtype
        elif name != "sha256":
            assert found == column, name
    assert list(ours.image_ids)[::3] == ["0012", "12"]


def test_a_test_set_may_be_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(image_list_parquet(["b.jpg", "a.jpg"]))
    table = read_test_set(tmp_path / "t.parquet", tmp_path, check_files=False)
    assert list(table.image_ids) == ["b.jpg", "a.jpg"]


def test_columns_of_other_widths_sliced_chunks_and_own_columns_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    table = pa.table(
        {
            "category_id": pa.chunked_array([pa.array([9, 1], pa.int8()).slice(1), pa.array([0], pa.int8())]),
            "fpath": pa.array(["b.jpg", "a.jpg"]).dictionary_encode(),
            "bbox": pa.array([None, [1, 2, 3, 4]], pa.list_(pa.int32())),
            "price": pa.array([None, 3], pa.uint16()),
            "brand": pa.array(["", None], pa.large_string()),
            "when": pa.array([1.5, 2.5]),
        }
    )
    pq.write_table(table, file)
    found = read(file, num_classes=2, own_columns=True)
    assert (found.labels.tolist(), list(found.paths)) == ([1, 0], ["b.jpg", "a.jpg"])
    assert found.boxes is not None
    assert np.isnan(found.boxes[0]).all()
    assert found.boxes[1].tolist() == [1, 2, 3, 4]
    assert sorted(found.columns) == ["brand", "price"]
    assert found.columns["price"].tolist()[1] == 3


KINDS = [pa.int8(), pa.int64(), pa.uint32(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_columns_become_arrays_as_they_become_lists(kind: pa.DataType) -> None:
    generator = np.random.default_rng(0)
    draws = generator.integers(0, 3, 99).tolist()
    of = {0: None, 1: False, 2: True} if kind == pa.bool_() else {0: None, 1: 1, 2: 2}
    values = ["é" * draw if draw and "string" in str(kind) else of[draw] for draw in draws]
    whole = pa.array(values, kind)
    column = pa.chunked_array([whole.slice(3, 40), whole.slice(0, 0), whole.slice(64), whole.filter(whole.is_valid())])
    told = column.to_pylist()
    if "string" in str(kind):
        assert list(_strings(column)) == [one or "" for one in told]
    else:
        absent = kind == pa.bool_() or 7
        assert _numbers(column, absent).tolist() == [absent if one is None else one for one in told]
    assert _given(column).tolist() == [one is not None for one in told]


def test_bytes_under_a_null_are_no_text() -> None:
    offsets, text = np.array([0, 1, 3, 4], np.int64), b"abbc"
    parts = [pa.py_buffer(b"\x05"), pa.py_buffer(offsets), pa.py_buffer(text)]
    column = pa.chunked_array([pa.Array.from_buffers(pa.large_string(), 3, parts)])
    assert list(_strings(column)) == ["a", "", "c"]


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    rows = {"category_id": [0, 1], "fpath": ["a.jpg", "b.jpg"], "role": [None, "x"], "weight": [None, 2.0]}
    table = pa.table({**rows, "bbox": [None, [1.0, 2.0, 3.0, 4.0]], "is_query": [True, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    code = (
        "import sys; from pathlib import Path; from shelfmark.data.annotations import read_annotations as read;"
        " read(Path('a.parquet'), Path(), num_classes=2, check_files=False); print('pandas' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split()[-1] == "False"


def test_whole_numbers_beyond_what_a_float_holds_are_the_nearest_as_in_json(tmp_path: Path) -> None:
    columns = {"category_id": [0, 0], "fpath": ["a.jpg", "b.jpg"], "weight": [2**60 + 1, 2**63 - 1]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", num_classes=1)
    assert found.weights is not None
    assert found.weights.tolist() == [2.0**60, 2.0**63]
    for wrong in ({"weight": [1, -(2**63)]}, {"bbox": [[1, 2, 3, 2**62 + 1]] * 2}):
        pq.write_table(pa.table(columns | wrong), tmp_path / "a.parquet")
        with pytest.raises(UserError, match=f"record 1: .*{next(iter(wrong))}"):
            read(tmp_path / "a.parquet", num_classes=1)


def test_a_name_that_stands_twice_in_the_metadata_is_refused(tmp_path: Path) -> None:
    table = pa.table({"category_id": [0], "fpath": ["a.jpg"]})
    text = '{"num_classes": 1, "num_classes": 2}'
    pq.write_table(table.replace_schema_metadata({"shelfmark": text}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="'num_classes' twice"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"category_id": [0.0], "fpath": ["a"]}, "'category_id' has the type double, wanted an integer"),
        ({"category_id": ["0"], "fpath": ["a"]}, "'category_id' has the type string, wanted an integer"),
        ({"category_id": [0], "fpath": [12]}, "'fpath' has the type int64, wanted text"),
        ({"category_id": [0]}, "has no column 'fpath'; its columns are category_id"),
        ({"category_id": [0], "fpath": ["a"], "is_query": [1]}, "'is_query' has the type int64, wanted true or false"),
        ({"category_id": [], "fpath": []}, "has no rows"),
        ({"category_id": [0, 5], "fpath": ["a", "b"]}, "record 1: category out of range: category_id=5, allowed 0..1"),
        ({"category_id": [0, None], "fpath": ["a", "b"]}, "record 1: null category_id without"),
        ({"category_id": [0, -(2**63)], "fpath": ["a", "b"]}, "record 1: category out of range"),
        ({"category_id": [0, 1], "fpath": ["a", None]}, "record 1: missing field: fpath is empty"),
        ({"category_id": [0], "fpath": ["a"], "bbox": [[1, 2, 3]]}, "record 0: not a box: bbox=\\[1,2,3\\]"),
        (
            {"category_id": [0], "fpath": ["a"], "bbox": [[1, 2, None, 4]]},
            "not a box: .*: a number is missing or not finite",
        ),
    ],
)
def test_what_json_would_refuse_is_refused(columns: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.parquet", num_classes=2)


def test_a_box_of_nothing_but_nulls_is_shown_as_such(tmp_path: Path) -> None:
    nulls = pa.array([[None] * 4] * 2, pa.list_(pa.float64()))
    pq.write_table(pa.table({"category_id": [0, 0], "fpath": ["a", "a"], "bbox": nulls}), tmp_path / "a.parquet")
    with pytest.raises(UserError) as told:
        read(tmp_path / "a.parquet", num_classes=2)
    assert "record 1: not a box: bbox=[null,null,null,null], wanted [x, y, width, height] in pixels" in str(told.value)
    assert "a number is missing or not finite" in str(told.value)


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    whole = annotations_parquet(RECORDS, 3, NAMES)
    file = tmp_path / "a.parquet"
    for raw in (whole[:-10], whole[:20] + b"\xff" * 40 + whole[60:], b"PAR1", whole[:4] + whole[40:]):
        file.write_bytes(raw)
        with pytest.raises(UserError, match=r"a\.parquet"):
            read(file)
    table = pa.table({"category_id": [0], "fpath": pa.array([b"\xff\xfe"]).view(pa.string())})
    pq.write_table(table, file)
    with pytest.raises(UserError, match="'fpath' cannot be read"):
        read(file, num_classes=1)
