"""Names that would command a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import in_line, printable, spreadsheet_cell

EVIL = "a\x1b[2J\x9b31m\r\u202egpj\udcff.jpg"


def test_what_would_command_a_terminal_is_written_out() -> None:
    assert printable(EVIL) == r"a\x1b[2J\x9b31m\r\u202egpj\xff.jpg"
    assert printable("größe 商品 😀\n\tnext") == "größe 商品 😀\n\tnext"
    assert printable("größe 商品 😀\n\tnext", one_line=True) == r"größe 商品 😀\n\tnext"
    for code in range(0x110000):
        text = printable(chr(code), one_line=True)
        assert text.isprintable() or code >= 0xA0


def test_a_name_cannot_begin_a_line_of_a_message() -> None:
    assert in_line(["milk\nwarning: all is lost", "a\tb", "c\0"]) == r"milk\nwarning: all is lost, a\tb, c\x00"
    assert in_line(["a", "b", "c"], 2) == "a, b, ..."
    assert in_line(["a", "b"], 2) == "a, b"


def test_notes_about_classes_keep_each_name_in_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from shelfmark.data.annotations import read_annotations
    from shelfmark.data.converters.foreign_rows import FORMS
    from shelfmark.data.converters.list_rows import prepare_list
    from shelfmark.data.open_set import tell_open_set

    hostile = ["a\nwarning: all is lost\x1b[2J", "b\0\tb", "c"]
    (tmp_path / "x.jpg").touch()
    document = {"annotations": [{"fpath": "x.jpg", "category_id": 2}], "num_classes": 3, "class_names": hostile}
    (tmp_path / "train.json").write_text(json.dumps(document))
    with caplog.at_level(logging.INFO):
        table = read_annotations(tmp_path / "train.json", tmp_path)
        tell_open_set(table, np.array([0, 1]))
    assert any(r"a\nwarning: all is lost\x1b[2J (0), b\x00\tb (1)" in one for one in caplog.messages)
    assert not any(set("\n\x1b\0\t") & set(one) for one in caplog.messages)
    (tmp_path / "train.txt").write_text("x.jpg\tc\n")
    (tmp_path / "val.txt").write_text("x.jpg\tb\x1bb\n")
    with pytest.raises(UserError, match="1 class of val is not in train") as told:
        prepare_list(tmp_path, tmp_path / FORMS[0], images=tmp_path)
    assert r"b\x1bb" in str(told.value)


def test_lines_for_the_user_hold_no_escape(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        say(EVIL)
        warn(EVIL)
    assert caplog.messages == [printable(EVIL), f"warning: {printable(EVIL)}"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C x'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "-1\n"])
def test_a_formula_becomes_text(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-5", -7, 0.25, None, "", "shoe", "a=b", "商品", "'=1"])
def test_numbers_and_other_text_stay_what_they_are(value: object) -> None:
    assert spreadsheet_cell(value) is value


def test_a_carriage_return_in_a_name_begins_no_row(tmp_path: Path) -> None:
    from shelfmark.data.lists import read_relabels, write_relabels
    from shelfmark.reports.tables import write_table

    write_table(tmp_path / "table.csv", [{"name": "a\rb", "score": 1}, {"name": "c\r\nd", "score": 2}])
    with open(tmp_path / "table.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [["name", "score"], ["a\rb", "1"], ["c\r\nd", "2"]]
    assert (tmp_path / "table.csv").read_bytes().startswith(b"name,score\n")
    write_relabels(tmp_path / "relabel.csv", [("x", 0), ("y", 1)], {0: "a\rb", 1: "c\nd"})
    assert read_relabels(tmp_path / "relabel.csv", 2) == {"x": 0, "y": 1}


def test_csv_files_for_people_are_safe_and_those_that_are_read_back_are_whole(tmp_path: Path) -> None:
    from shelfmark.core.contracts import BadImage
    from shelfmark.data.bad_images import BadImageLog
    from shelfmark.data.findings import Findings
    from shelfmark.data.lists import read_relabels, write_relabels
    from shelfmark.predictions.submission import read_submission, read_topk, write_submission, write_topk
    from shelfmark.reports.tables import write_table

    name = "=HYPERLINK(1)"
    write_table(tmp_path / "table.csv", [{"name": name, "score": -0.5, "count": -3}])
    log = BadImageLog(tmp_path / "bad.csv", num_images=1000)
    log.add([BadImage(0, name, "missing")])
    findings = Findings()
    findings.note(0, "a note", name)
    findings.settle(tmp_path / "train.json", [name], tmp_path)
    rows = {file.name: list(csv.reader(file.open(newline="")))[1] for file in tmp_path.glob("*.csv")}
    assert rows == {
        "table.csv": [f"'{name}", "-0.5", "-3"],
        "bad.csv": ["0", f"'{name}", "missing"],
        "train.findings.csv": ["0", "a note", f"'{name}", f"'{name}"],
    }
    write_submission(tmp_path / "submission.csv", [name], [1])
    write_topk(tmp_path / "top.csv", [name], [[1]], np.array([[0.5]]))
    write_relabels(tmp_path / "relabel.csv", [(name, 1)])
    assert (tmp_path / "submission.csv").read_bytes() == f"id,predicted\r\n{name},1\r\n".encode()
    assert list(read_submission(tmp_path / "submission.csv")[0]) == [name]
    assert list(read_topk(tmp_path / "top.csv")[0]) == [name]
    assert read_relabels(tmp_path / "relabel.csv", 2) == {name: 1}
