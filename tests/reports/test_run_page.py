"""The sections of a run's report, and its rules, against hand-worked numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmark.reports.html.parts import DataTable, Figures, Numbers
from shelfmark.reports.run_page.advice import RunFacts, advice
from shelfmark.reports.run_page.answer import change_told, scores_told
from shelfmark.reports.run_page.buckets import bucket_masks
from shelfmark.reports.run_page.confidence import RiskCurves, confidence_section
from shelfmark.reports.run_page.curves import curves_section
from shelfmark.reports.run_page.provenance import options_set
from shelfmark.reports.run_page.tail import Tail, tail_section

FINE = RunFacts(
    Path("log/shop"),
    Path("log/shop/best_model"),
    {"top1": 0.9, "many": 0.9, "few": 0.8, "ece": 0.02},
    has_thresholds=True,
)


def _rows(section: Any, name: str) -> list[dict[str, Any]]:
    [figure] = [one for part in section.parts if isinstance(part, Figures) for one in part.figures if one.name == name]
    return figure.chart.rows()


def test_a_run_of_which_no_rule_holds_is_told_so() -> None:
    [step] = advice(FINE)
    assert step.title == "Nothing stands out."


@pytest.mark.parametrize(
    ("change", "title", "reason", "command"),
    [
        ({"summary": {"many": 0.9, "few": 0.6}}, "Recalibrate", "60% and many-shot classes in 90%", "calibrate"),
        ({"summary": {"ece": 0.061}}, "Learn a temperature", "6.1%, more than 5%", "--method temperature"),
        ({"data_wait": 0.4, "num_workers": 3}, "Read images faster", "40% of the last epoch", "data.num_workers=6"),
        ({"num_sure_mistakes": 3, "num_answers": 100}, "Look for wrong labels", "3.0% of the images", "clean"),
        ({"num_suspects": 7}, "Go through the suspects", "clean listed 7 images", "data.lists.drop"),
        ({"scores": [0.1, 0.2, 0.25], "num_epochs": 5}, "Train longer", "rose by 5.0 points", "train.num_epochs=10"),
        (
            {"last": Path("log/shop/last"), "num_done": 2, "scores": [0.1, 0.2, 0.25], "num_epochs": 5},
            *(
                "Go on with the training",
                "interrupted when 2 of its 5 epochs were done",
                "train --RESUME_MODEL log/shop/last",
            ),
        ),
        ({"num_bad_images": 2}, "Look at the unreadable", "2 images could not", ""),
        ({"has_thresholds": False}, "Decide when to answer", "also one of an unknown product", "--max-wrong 5%"),
    ],
)
def test_a_rule_gives_its_reason_with_the_numbers_and_the_command(
    change: dict[str, Any], title: str, reason: str, command: str
) -> None:
    [step] = advice(replace(FINE, **change))
    assert step.title.startswith(title)
    assert reason in step.reason
    assert command in step.command


@pytest.mark.parametrize(
    "change",
    [
        {"summary": {"many": 0.5, "few": 0.3}},
        {"summary": {"many": 0.9, "few": 0.6}, "is_recalibrated": True},
        {"summary": {"ece": 0.05}},
        {"summary": {"many": None, "few": None, "ece": None}},
        {"data_wait": 0.1},
        {"num_sure_mistakes": 2, "num_answers": 100},
        {"num_suspects": 0, "num_sure_mistakes": 50, "num_answers": 100},
        {"scores": [0.1, 0.25, 0.25], "num_epochs": 5},
        {"scores": [0.3, 0.1, 0.2], "num_epochs": 5},
    ],
)
def test_at_its_limit_a_rule_says_nothing(change: dict[str, Any]) -> None:
    [step] = advice(replace(FINE, **change))
    assert step.title == "Nothing stands out."


def test_scores_come_with_their_intervals_and_the_parents_beside_them() -> None:
    summary = {"top1": 0.5, "top1_low": 0.44, "top1_high": 0.56, "num_images": 100, "ece": 0.1, "few": None}
    numbers = scores_told(summary)
    assert isinstance(numbers, Numbers)
    assert [(one.value, one.name) for one in numbers.numbers] == [
        ("50.0%", "top-1"),
        ("10.0%", "expected calibration error"),
    ]
    assert numbers.numbers[0].note == "44.0 to 56.0"
    scores, _, options = change_told("before", {"top1": 0.47}, summary, [("optim.lr", "0.1", "0.2")])
    assert isinstance(scores, DataTable)
    assert scores.rows == (("top-1", "47.0%", "50.0% (44.0 to 56.0)", "+3.0 points"),)
    assert isinstance(options, DataTable)
    assert options.rows == (("optim.lr", "0.1", "0.2"),)


def test_curves_stand_at_the_epochs_that_were_done() -> None:
    records = [
        {
            "kind": "train",
            "step": 5,
            "epoch": 0,
            "loss": 4.0,
            "lr": 0.1,
            "grad_norm": 2.0,
            "grad_norm/cross_entropy": 1.0,
        },
        {"kind": "epoch", "step": 10, "epoch": 0, "loss": 3.0, "images_per_s": 80.0, "data_wait_share": 0.25},
        {"kind": "val", "step": 10, "epoch": 0, "top1": 0.5, "few": None},
        {"kind": "epoch", "step": 20, "epoch": 1, "loss": 2.0, "images_per_s": 100.0, "data_wait_share": 0.2},
        {"kind": "skipped", "step": 15, "epoch": 1, "reason": "NaN"},
        {"kind": "train", "step": 16, "epoch": 1, "loss": float("nan"), "grad_norm": float("inf")},
    ]
    section = curves_section(records, "top1", "shelfmark train")
    assert [(row["series"], row["epochs done"], row["loss"]) for row in _rows(section, "loss")] == [
        ("at a step", 0.5, 4.0),
        ("mean of the epoch", 1, 3),
        ("mean of the epoch", 2, 2),
    ]
    assert [(row["series"], row["score"]) for row in _rows(section, "score")] == [("top-1", 0.5)]
    assert [row["L2 norm"] for row in _rows(section, "gradient_norms")] == [2, 1]
    assert [row["share of the time"] for row in _rows(section, "data_wait")] == [0.25, 0.2]


def test_the_tail_has_groups_by_training_images_and_counts_in_falling_order() -> None:
    counts = np.array([200, 3, 50, 101])
    masks = bucket_masks(counts, many=100, few=20)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "many": [True, False, False, True],
        "medium": [False, False, True, False],
        "few": [False, True, False, False],
    }
    summary = {"many": 0.75, "many_low": 0.7, "many_high": 0.8, "medium": 0.5, "few": None}
    accuracy = np.array([1, 0, 0.5, 0.5])
    section = tail_section(Tail(counts, accuracy, summary, 100, 20, {"this model": counts / 100}, None, None))
    assert [row["images"] for row in _rows(section, "class_sizes")] == [200, 101, 50, 3]
    groups = _rows(section, "accuracy_by_group")
    assert [list(row.values())[1:4] for row in groups] == [
        ["many-shot", 0.75, 0.7],
        ["medium-shot", 0.5, pytest.approx(np.nan, nan_ok=True)],
    ]
    dots = [row for row in _rows(section, "accuracy_by_class_size") if row["series"] == "a class"]
    assert sorted((row["training images of the class"], row["accuracy on val"]) for row in dots) == [
        (3, 0),
        (50, 0.5),
        (101, 0.5),
        (200, 1),
    ]


def test_confidence_is_compared_with_what_is_right_in_each_group() -> None:
    confidence, is_right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, False, True, True])
    groups = {"few": np.array([False, False, True, True])}
    risk = RiskCurves("softmax", {"all": (np.array([0.5, 1.0]), np.array([0.5, 0.25]))}, 0.3, 0.5)
    section = confidence_section(confidence, is_right, groups, risk, "")
    rows = [tuple(row.values())[:3] for row in _rows(section, "reliability")]
    assert ("all", pytest.approx(0.95), 0.5) in rows
    assert ("few-shot", pytest.approx(0.55), 1.0) in rows
    # |0.95 - 0.5| and |0.55 - 1| for half of the images each.
    [note] = [one.note for one in section.parts[0].figures if one.name == "reliability"]  # type: ignore[union-attr]
    assert note == "Expected calibration error: all 45.0%; few-shot 45.0%."
    shown = [
        (row["series"], row["images answered"], row["answers that are wrong"])
        for row in _rows(section, "risk_coverage")
    ]
    assert shown[:2] == [("all", 0.5, 0.5), ("all", 1, 0.25)]
    assert ("promise: 30% wrong", "", 0.3) in shown
    assert ("threshold", 0.5, 0) in shown
    curve = replace(risk, by_group={"few": (np.array([0.5, 0.9]), np.array([0.5, 0.25]))})
    ends = [
        figure.chart.description
        for one in (risk, curve)
        for figure in confidence_section(confidence, is_right, groups, one, "").parts[0].figures  # type: ignore[union-attr]
        if figure.name == "risk_coverage"
    ]
    assert ends == [
        "all: 25.0% wrong if all are answered",
        "few-shot: 25.0% wrong if the 90.0% with a score are answered",
    ]


def test_the_options_that_were_set_are_found_with_their_origin() -> None:
    text = """\
# Behind a value: the file and line, or the flag, that set it.
name: shop  # configs/shop.yaml:6
seed: 0
data:
  root: dataset/shop  # configs/shop.yaml:10
  lists:
    drop: [a.txt]  # command line: data.lists.drop=[a.txt]
losses:
  - name: cross_entropy  # configs/shop.yaml:30
"""
    assert options_set(text) == (
        ("name", "shop", "configs/shop.yaml:6"),
        ("data.root", "dataset/shop", "configs/shop.yaml:10"),
        ("data.lists.drop", "[a.txt]", "command line: data.lists.drop=[a.txt]"),
        ("losses.name", "cross_entropy", "configs/shop.yaml:30"),
    )
