from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from shelfmark.core.score_names import score_name
from shelfmark.reports.tables import score_table, score_text, write_table


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top1", 0.4447, "44.5%"),
        ("top1", 1, "100.0%"),
        ("few", None, "n/a"),
        ("few", float("nan"), "n/a"),
        ("few", 0.0, "0.0%"),
        ("num_images", 148012, "148,012"),
    ],
)
def test_scores_are_percent_with_one_decimal(name: str, value: float | None, expected: str) -> None:
    assert score_text(name, value) == expected


def test_scores_have_names_that_people_use() -> None:
    names = [score_name(name) for name in ("recall@10", "map@r", "mean_class_error", "num_images")]
    assert names == ["Recall@10", "mAP@R", "mean class error", "images"]


def test_a_table_has_a_row_for_every_score_of_any_column() -> None:
    table = score_table("scores", {"before": {"top1": 0.25, "few": None}, "after": {"top1": 0.5, "map": 0.1}})
    assert _cells(table) == [["top-1", "25.0%", "50.0%"], ["few-shot", "n/a", ""], ["mAP", "", "10.0%"]]


def test_an_interval_stands_behind_its_score() -> None:
    interval = {"top1": 0.464, "top1_low": 0.428, "top1_high": 0.501, "few": None, "few_low": None, "few_high": None}
    table = score_table("scores", {"val": interval, "again": {"top1": 0.5, "price_low": 0.25}})
    assert _cells(table) == [
        ["top-1", "46.4% (42.8 - 50.1)", "50.0%"],
        ["few-shot", "n/a", ""],
        ["price low", "", "25.0%"],
    ]


def test_a_table_file_keeps_six_digits_and_says_what_is_not_available(tmp_path: Path) -> None:
    rows = [
        {"model": "unmodified", "tau": None, "top1": 1 / 3, "count": 12},
        {"model": "tau-norm", "tau": 0.05, "top1": 0.5, "count": 1},
    ]
    write_table(tmp_path / "tau.csv", rows)
    with open(tmp_path / "tau.csv", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["model", "tau", "top1", "count"],
            ["unmodified", "n/a", "0.333333", "12"],
            ["tau-norm", "0.05", "0.5", "1"],
        ]


def test_a_table_file_without_rows_still_names_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "none.csv", [], ["class_id", "images"])
    assert (tmp_path / "none.csv").read_text() == "class_id,images\n"


def _cells(table: Table) -> list[list[str]]:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    rows = [line for line in capture.get().splitlines() if line[0] == "│"]
    return [[part.strip() for part in line.strip("│").split("│")] for line in rows]
