"""The end of a command: its document, its screen and its exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main
from shelfmark.cli.outcome import Outcome, told
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.stopping import INTERRUPTED, PREEMPTED
from shelfmark.core.watch import STALLED


def test_json_is_the_only_thing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def run() -> Outcome:
        print("said on the way")
        value = {"score": np.float32(0.5), "none": float("nan"), "name": "Käse\udcff", "where": Path("a/b"), 3: (1, 2)}
        return Outcome(value, lambda: shown.append("screen"), ExitCode.UNREADABLE)

    assert told(run, is_json=True) == 1
    printed = capsys.readouterr()
    assert printed.err == "said on the way\n"
    assert printed.out.isascii()
    expected = {"score": 0.5, "none": None, "name": "Käse\udcff", "where": "a/b", "3": [1, 2]}
    assert json.loads(printed.out) == expected
    assert shown == []
    assert told(run, is_json=False) == 1
    assert capsys.readouterr().out == "said on the way\n"
    assert shown == ["screen"]


@pytest.mark.parametrize(("rank", "status", "documents"), [("0", 2, 1), ("1", 0, 0)])
def test_of_several_processes_the_first_shows_the_result_and_has_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, status: int, documents: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    shown: list[str] = []
    outcome = Outcome([], lambda: shown.append("screen"), ExitCode.UNREADABLE)
    assert told(lambda: outcome, is_json=True) == status
    assert capsys.readouterr().out == "[]\n" * documents
    assert told(lambda: outcome, is_json=False) == status
    assert len(shown) == documents
    assert told(lambda: 75, is_json=True) == 75


def test_the_page_and_every_help_have_the_table_of_exit_statuses(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (checkout / "docs" / "cli.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert rows == [(str(code.value), code.meaning) for code in ExitCode]
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 70, 75, 130]
    assert (PREEMPTED, INTERRUPTED, STALLED) == (75, 130, 70)
    with pytest.raises(SystemExit):
        main(["search", "--help"])
    assert main([]) == 0
    for text in capsys.readouterr().out.split("usage: shelfmark COMMAND"):
        words = " ".join(text.split())
        assert all(f"{code.value} {code.meaning}" in words for code in ExitCode)
