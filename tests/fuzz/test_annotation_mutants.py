"""50,000 damaged annotation files of each form: each is refused with its name, or read as a slow reader reads it.

The slow readers (`mutated_files.py`) know nothing of ours. A number in place of a text, a field that stands twice, a
cell too many: what they find odd must be refused. What is read, written and read again must be the same.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mutated_files import FORMS, Form

from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.documents import annotations_json
from shelfmark.data.parquet_records import annotations_parquet
from shelfmark.data.table import Table

SHARDS = 10
NAMES = ("a.jpg", "b/c.jpg", "b/é 1.jpg", "d.png")


MEMORY = Path("/dev/shm")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Half a million small files: on a disk, opening them takes as long as all else.
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        for name in NAMES:
            (Path(folder) / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / "images" / name).touch()
        monkeypatch.chdir(folder)
        # Tens of thousands of lists of findings need not survive a crash of the machine.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
        yield Path(folder)
        monkeypatch.undo()


def rows_of(table: Table) -> list[tuple[object, ...]]:
    """Each record as plain values: path, class, box, and the fields that it has."""
    names = table.class_names
    found = []
    for row in range(len(table)):
        label = int(table.labels[row])
        box = None if table.boxes is None or table.boxes[row, 0] != table.boxes[row, 0] else table.boxes[row].tolist()
        weight = None if table.weights is None else float(table.weights[row])
        confidence = None if table.confidence is None else float(table.confidence[row])
        role = "" if table.roles is None else table.roles[row]
        found.append(
            (
                table.paths[row],
                (names[label] if names else label) if label >= 0 else None,
                None if box is None else tuple(round(side, 2) for side in box),
                1.0 if weight is None else round(weight, 4),
                None if confidence is None or confidence != confidence else round(confidence, 4),
                role,
            )
        )
    return found


def told_of(row: tuple[object, ...]) -> str:
    """A row as text. -0 is 0."""
    return re.sub(r"(?<![\w.])-0\.0\b", "0.0", repr(row))


def check(form: Form, number: int, seed: int, root: Path) -> None:
    draw, num_read = random.Random(f"{form.name} {seed}"), 0
    refusals: list[str] = []
    written: set[str] = set()
    for turn in range(number):
        shutil.rmtree(root / "out", ignore_errors=True)
        raw = form.mutant(draw)
        file = root / f"mutant{form.ending}"
        file.write_bytes(raw)
        try:
            tables = form.read(file, root, root / "out" / str(turn))
        except UserError as error:
            refusals.append(str(error))
            continue
        num_read += 1
        expected = form.slow_rows(raw)
        assert expected is not None, raw
        found = [row for table in tables for row in rows_of(table)]
        assert sorted(map(told_of, found)) == sorted(map(told_of, expected)), raw
        for table in tables:
            # Many mutants say the same; it is written and read again once.
            if (told := f"{table.num_classes} {table.class_names} {rows_of(table)}") not in written:
                written.add(told)
                require_written_back(table, root)
    # A mutation that nothing notices shows nothing, nor does one that everything refuses.
    assert num_read > number / 50
    assert len(refusals) > number / 4
    assert not [text for text in refusals if "mutant" not in text]


def require_written_back(table: Table, root: Path) -> None:
    records = []
    for path, _, box, weight, confidence, role in rows_of(table):
        row = len(records)
        label = int(table.labels[row])
        record = {"category_id": label if label >= 0 else None, "fpath": path, "weight": weight}
        more = {"bbox": None if box is None else list(box), "confidence": confidence, "role": role or None}
        records.append(record | {name: value for name, value in more.items() if value is not None})
    for name, write in (("again.json", annotations_json), ("again.parquet", annotations_parquet)):
        (root / name).write_bytes(write(records, table.num_classes, table.class_names or ()))
        again = read_annotations(root / name, root / "images", check_files=False)
        assert rows_of(again) == rows_of(table)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_some_damaged_files_are_refused_or_read_right(form: Form, root: Path) -> None:
    check(form, 150, 0, root)


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_damaged_files_are_refused_or_read_right(form: Form, shard: int, root: Path) -> None:
    check(form, 50_000 // SHARDS, 1 + shard, root)
