from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from shelfmark.core.strings import Strings
from shelfmark.evaluation.per_class import PerClass, write_per_class
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.ops.confusions import taken_for


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_names_the_bucket_the_recall_and_what_a_class_is_taken_for(tmp_path: Path) -> None:
    #                     of class 0: right, three times 2, twice 3, once 1, once 4
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 3, 3, -1])
    predicted = torch.tensor([0, 2, 2, 2, 3, 3, 4, 1, 3, 0, 1])
    counts = ClassCounts(5)
    counts.add(torch.nn.functional.one_hot(predicted, 5).float(), labels)
    names = Strings.of(["tea, green", "oat milk", "größe", "=cmd()", "e"])
    table = PerClass(counts, [101, 100, 20, 19, 0], names, recalls={0: 0.25}, taken_for=taken_for(labels, predicted))
    write_per_class(tmp_path / "per_class.csv", table)
    found = rows(tmp_path / "per_class.csv")
    assert list(found[0].values()) == [
        *("0", "tea, green", "101", "many", "8", "1", "0.125000", "0.250000"),
        *("2", "größe", "3", "3", "'=cmd()", "2", "1", "oat milk", "1"),
    ]
    assert [row["bucket"] for row in found] == ["many", "medium", "medium", "few", "few"]
    assert list(found[3].values())[4:] == ["2", "1", "0.500000", "", "0", "tea, green", "1", *[""] * 6]
    assert list(found[1].values())[4:] == ["0", "0", *[""] * 11]


def test_what_is_unknown_of_a_class_is_empty(tmp_path: Path) -> None:
    counts = ClassCounts(3)
    counts.add(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]), torch.tensor([0, 2, 2]))
    write_per_class(tmp_path / "bare.csv", PerClass(counts))
    assert (tmp_path / "bare.csv").read_text().splitlines()[2] == "1,,,,0,0,,,,,,,,,,,"
    with pytest.raises(ValueError, match="1 class names for 3 classes"):
        PerClass(counts, class_names=["tea"])
