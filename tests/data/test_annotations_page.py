"""The examples of docs/annotations.md are read, refused and converted as the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations, read_test_set
from shelfmark.data.converters.table_rows import prepare_csv

PAGE = (Path(__file__).parents[2] / "docs" / "annotations.md").read_text(encoding="utf-8")
REFUSED = re.findall(r"^\| `(\{.*\}|7)` \| `(.*)` \|$", PAGE, re.MULTILINE)


def block(name: str) -> str:
    found = re.search(rf"^```{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("shelf/0012.jpg", "cola.jpg", "web/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_the_example_is_read(root: Path) -> None:
    (root / "train.json").write_text(block("json annotations"), encoding="utf-8")
    table = read_annotations(root / "train.json", root)
    assert table.labels.tolist() == [1, 0, 0, -1]
    assert [table.image_ids[row] for row in (0, 2)] == ["shelf/0012.jpg#120,40,85.5,160", "0012"]
    assert table.class_names == ("cola", "lemonade")
    (root / "test.json").write_text(block("json test"), encoding="utf-8")
    assert list(read_test_set(root / "test.json", root).paths) == ["cola.jpg", "web/a.jpg"]


def test_the_parquet_of_the_page_is_read(root: Path) -> None:
    exec(block("python"), {})
    table = read_annotations(root / "train.parquet", root)
    assert (table.labels.tolist(), table.class_names) == ([1, 0], ("cola", "lemonade"))


@pytest.mark.parametrize(("record", "told"), REFUSED)
def test_each_record_that_the_page_calls_wrong_is_refused_with_its_words(record: str, told: str, root: Path) -> None:
    (root / "train.json").write_text(f'{{"annotations": [{record}], "num_classes": 2}}')
    with pytest.raises(UserError) as caught:
        read_annotations(root / "train.json", root)
    assert told in str(caught.value)
    assert "record 0: " in str(caught.value)
    assert "at byte 17" in str(caught.value)


def test_the_page_has_a_row_for_each_kind_of_mistake() -> None:
    assert len(REFUSED) == 10


def test_the_csv_of_the_page_becomes_annotations(root: Path) -> None:
    (root / "t.csv").write_text(block("csv"))
    columns = re.search(r"--columns (fpath=Photo .*)$", PAGE, re.MULTILINE)
    assert columns
    prepared = prepare_csv(root / "t.csv", root / "out", columns=columns[1].split(), val_fraction=0.4)
    records = [
        record
        for part in ("train", "val")
        for record in json.loads(Path(prepared.options[f"data.{part}_json"]).read_text())["annotations"]
    ]
    assert sorted((one["fpath"], one["category_id"], one.get("bbox")) for one in records)[1:3] == [
        ("shelf/0012.jpg", 0, [120, 40, 85.5, 160]),
        ("shelf/0012.jpg", 1, [210, 42, 80, 158]),
    ]
