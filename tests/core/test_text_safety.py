"""Names that would command a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import printable, spreadsheet_cell

EVIL = "a\x1b[2J\x9b31m\r\u202egpj\udcff.jpg"


def test_what_would_command_a_terminal_is_written_out() -> None:
    assert printable(EVIL) == r"a\x1b[2J\x9b31m\r\u202egpj\xff.jpg"
    assert printable("größe 商品 😀\n\tnext") == "größe 商品 😀\n\tnext"
    assert printable("größe 商品 😀\n\tnext", one_line=True) == r"größe 商品 😀\n\tnext"
    for code in range(0x110000):
        text = printable(chr(code), one_line=True)
        assert text.isprintable() or code >= 0xA0


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
