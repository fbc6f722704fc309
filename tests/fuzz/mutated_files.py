"""Annotation files of each form, how they are damaged, and a slow reader of each that knows nothing of ours."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shelfmark.data.annotations import read_annotations
from shelfmark.data.converters.coco import prepare_coco
from shelfmark.data.converters.list_rows import prepare_list
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.converters.table_rows import prepare_csv
from shelfmark.data.table import Table

Rows = list[tuple[object, ...]]
RECORDS: list[dict[str, Any]] = [
    {"category_id": 2, "fpath": "a.jpg", "image_id": "0012", "weight": 2, "source": "shop"},
    {"category_id": 0, "fpath": "b/c.jpg", "confidence": 0.25, "bbox": [1, 2, 3.5, 4]},
    {"category_id": 1, "fpath": "b/c.jpg", "bbox": [10, 2, 3, 4], "x": {"y": [1, {"z": "a:b"}]}},
    {"category_id": None, "fpath": "b/é 1.jpg", "role": "unlabelled"},
    {"category_id": 2, "fpath": "d.png", "weight": None},
]
DOCUMENT = {"annotations": RECORDS, "num_classes": 3}
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "1", "file_name": "b/c.jpg"}, {"id": 3, "file_name": "d.png"}],
    "annotations": [
        {"id": 7, "image_id": 1, "category_id": 18, "bbox": [0, 0, 10.5, 20], "iscrowd": 0},
        {"id": 8, "image_id": "1", "category_id": 18, "bbox": [5, 5, 10, 10]},
        {"id": 9, "image_id": 1, "category_id": 2, "bbox": [9, 4, 5, 6]},
        {"id": 10, "image_id": 3, "category_id": 2, "bbox": [1, 1, 2, 2]},
        {"id": 11, "image_id": 3, "category_id": 18, "bbox": [4, 1, 2, 2]},
    ],
    "categories": [{"id": 18, "name": "cola"}, {"id": 2, "name": "0012"}],
}
CSV = (
    "fpath,label,bbox,weight\na.jpg,0012,1 2 3.5 4,2\na.jpg,12,10 2 3 4,\n"
    '"b/c.jpg",0012,,0.5\nd.png,12,"1,1,2,2",1\nb/é 1.jpg,12,,\n'
)
LIST = "a.jpg 0012\nb/c.jpg\t12\nd.png 12\nb/é 1.jpg 0012\n"

VALUES: list[Any] = [None, True, False, 0, 1, -1, 3, 1.0, 1.5, 1e39, 10**20, 2**63, -(2**63), "", "1", "01", "a.jpg"]
VALUES += ["./a.jpg", "b//c.jpg", "/etc/passwd", "../x", "\0", "é", [], [1, 2, 3], [1, 2, 3, 4], [1, 2, "3", 4], {}]
VALUES += [{"a": 1}, "unlabelled", [[1, 2, 3, 4]], "a" * 300, [0, 0, -1, 5], [True, 1, 2, 3], "NaN", [1e9, 0, 1, 1]]
BYTES = [
    b"",
    b"}",
    b"]",
    b'"',
    b",",
    b"{",
    b"[",
    b"\\",
    b":",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"0",
    b"1",
    b"-",
    b"e",
    b".",
    b"\0",
]
BYTES += [b"\xff", b"\xc3", b"null", b"NaN", b"true", b";", b"\xef\xbb\xbf", b"''", b"1e400", b"\\u0000", b"\\ud800"]


@dataclass(frozen=True)
class Form:
    """mutant: a damaged file. read: its tables, by our readers. slow_rows: what it says, as `rows_of` gives it; None
    where it says nothing that may be read."""

    name: str
    ending: str
    mutant: Callable[[random.Random], bytes]
    read: Callable[[Path, Path, Path], list[Table]]
    slow_rows: Callable[[bytes], Rows | None]


def changed_value(draw: random.Random, value: Any) -> Any:
    """The value, a place in it changed: replaced, left out, put twice or under another name."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.randrange(5)
        if kind == 0:
            return {name: item for name, item in value.items() if name != key}
        if kind == 1:
            return {**value, draw.choice(["fpath", "role", "weight", "bbox", "Fpath", "confidence"]): value[key]}
        return {**value, key: changed_value(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place, kind = draw.randrange(len(value)), draw.randrange(6)
        if kind == 0:
            return [*value, copy.deepcopy(value[place])]
        if kind == 1:
            return value[:place] + value[place + 1 :]
        return [*value[:place], changed_value(draw, value[place]), *value[place + 1 :]]
    return draw.choice(VALUES)


def damaged(draw: random.Random, raw: bytes) -> bytes:
    """The bytes, in one or two places changed."""
    found = bytearray(raw)
    for _ in range(draw.choice((1, 1, 2))):
        place, kind = draw.randrange(len(found) + 1), draw.randrange(5)
        if kind == 0:
            found[place : place + 1] = draw.choice(BYTES)
        elif kind == 1:
            found[place:place] = draw.choice(BYTES)
        elif kind == 2:
            del found[place : place + draw.randrange(1, 30)]
        elif kind == 3:
            found[place:place] = found[place : place + draw.randrange(1, 60)]
        else:
            found[place : place + 1] = bytes([draw.randrange(256)])
    return bytes(found)


def json_mutant(document: Any) -> Callable[[random.Random], bytes]:
    def mutant(draw: random.Random) -> bytes:
        value = document
        for _ in range(draw.randrange(3)):
            value = changed_value(draw, value)
        text = json.dumps(value, ensure_ascii=draw.random() < 0.5, indent=draw.choice((None, 1))).encode()
        return damaged(draw, text) if draw.random() < 0.5 else text

    return mutant


def text_mutant(text: str) -> Callable[[random.Random], bytes]:
    return lambda draw: damaged(draw, (text if draw.random() < 0.8 else text.replace("\n", "\r\n")).encode())


def parquet_mutant(draw: random.Random) -> bytes:
    """A table with columns of other types, names or values; some are cut off."""
    rows = [{name: value for name, value in row.items() if name != "x"} for row in RECORDS]
    if draw.random() < 0.6:
        changed = changed_value(draw, rows)
        rows = [row for row in changed if isinstance(row, dict) and row] if isinstance(changed, list) else rows
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            columns[name] = pa.array([None if value is None else str(value).replace("\0", "") for value in values])
    if columns and draw.random() < 0.2:
        name = draw.choice(list(columns))
        columns[name] = columns[name].cast(pa.string()) if pa.types.is_integer(columns[name].type) else columns[name]
    table = pa.table(columns) if columns else pa.table({"nothing": [1]})
    classes = draw.choice([3, 3, 3, 2, None, "3"])
    table = table.replace_schema_metadata({"shelfmark": json.dumps({"num_classes": classes})})
    stream = io.BytesIO()
    try:
        pq.write_table(table, stream)
    except pa.ArrowException:  # Parquet has no objects without members.
        stream = io.BytesIO()
        pq.write_table(pa.table({"category_id": [0]}), stream)
    raw = stream.getvalue()
    return raw[: draw.randrange(len(raw))] if draw.random() < 0.1 else raw


def own(file: Path, root: Path, out: Path) -> list[Table]:
    return [read_annotations(file, root / "images", findings_folder=root / "findings")]


def converted(prepare: Callable[..., Prepared]) -> Callable[[Path, Path, Path], list[Table]]:
    def read(file: Path, root: Path, out: Path) -> list[Table]:
        prepared = prepare(file, out, images=root / "images", val_fraction=0.5)
        files = [Path(path) for name, path in prepared.options.items() if name in ("data.train_json", "data.val_json")]
        return [read_annotations(one, root / "images", findings_folder=root / "findings") for one in files]

    return read


def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def loaded(raw: bytes) -> Any:
    def refused(text: str) -> None:
        raise ValueError(text)

    return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=no_twice, parse_constant=refused)


def json_rows(raw: bytes) -> Rows | None:
    document = loaded(raw)
    names = document.get("class_names")
    return [record_row(one, names) for one in document["annotations"]]


def record_row(record: dict[str, Any], names: list[str] | None = None) -> tuple[object, ...]:
    label, box = record["category_id"], record.get("bbox")
    assert label is None or type(label) is int
    assert type(record["fpath"]) is str
    weight, confidence = record.get("weight"), record.get("confidence")
    assert all(value is None or type(value) in (int, float) for value in (weight, confidence))
    return (
        record["fpath"],
        names[label] if names and label is not None else label,
        None if box is None else tuple(round(float(side), 2) for side in box),
        1.0 if weight is None else _in_32_bits(weight),
        None if confidence is None or math.isnan(confidence) else _in_32_bits(confidence),
        record.get("role") or "",
    )


def _in_32_bits(value: float | str) -> float:
    # So a table keeps weights and confidences.
    return round(float(np.float32(value)), 4)


def parquet_rows(raw: bytes) -> Rows | None:
    return [record_row(one) for one in pq.read_table(io.BytesIO(raw)).to_pylist()]


def csv_rows(raw: bytes) -> Rows | None:
    text = raw.decode("utf-8-sig")
    delimiter = max(",;\t|", key=text.split("\n", 1)[0].count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, restkey="more")
    found: Rows = []
    for row in rows:
        assert "more" not in row
        assert None not in row.values()
        sides = re.findall(r"[^,;\s\[\]()]+", row.get("bbox") or "")
        weight = row.get("weight")
        box = tuple(round(float(side), 2) for side in sides) or None
        found.append((row["fpath"], row["label"], box, _in_32_bits(weight) if weight else 1.0, None, ""))
    return found


def coco_rows(raw: bytes) -> Rows | None:
    document = loaded(raw)
    paths = {repr(one["id"]): one["file_name"] for one in document["images"]}
    names = {repr(one["id"]): one["name"] for one in document["categories"]}
    found: Rows = []
    for one in document["annotations"]:
        box = one.get("bbox")
        if one.get("iscrowd") not in (0, None):
            continue
        if box is not None:
            left, top = (max(0.0, float(side)) for side in box[:2])
            right, bottom = (float(box[side]) + float(box[side + 2]) for side in (0, 1))
            for limit in (item for item in document["images"] if repr(item["id"]) == repr(one["image_id"])):
                right, bottom = min(right, limit.get("width") or right), min(bottom, limit.get("height") or bottom)
            box = (left, top, right - left, bottom - top)
            if box[2] <= 0 or box[3] <= 0:
                continue
        rounded = None if box is None else tuple(round(side, 2) for side in box)
        found.append((paths[repr(one["image_id"])], names[repr(one["category_id"])], rounded, 1.0, None, ""))
    return found


def list_rows(raw: bytes) -> Rows | None:
    found: Rows = []
    for line in raw.decode("utf-8-sig").split("\n"):
        line = line.removesuffix("\r")
        if line.strip():
            path, label = line.rsplit("\t", 1) if "\t" in line else line.rstrip().rsplit(" ", 1)
            found.append((path.rstrip(), label.strip(), None, 1.0, None, ""))
    return found


FORMS = (
    Form("json", ".json", json_mutant(DOCUMENT), own, json_rows),
    Form("parquet", ".parquet", parquet_mutant, own, parquet_rows),
    Form("csv", ".csv", text_mutant(CSV), converted(prepare_csv), csv_rows),
    Form("coco", ".json", json_mutant(COCO), converted(prepare_coco), coco_rows),
    Form("list", ".txt", text_mutant(LIST), converted(prepare_list), list_rows),
)
