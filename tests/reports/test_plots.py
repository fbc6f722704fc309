from __future__ import annotations

from pathlib import Path

import pytest
from pictures import has_color, pixels

from shelfmark.reports.plots import curves, tau_curve

STEPS = 4


def _records(num_epochs: int = 3) -> list[dict]:
    records: list[dict] = []
    for epoch in range(num_epochs):
        for step in range(epoch * STEPS + 1, (epoch + 1) * STEPS + 1):
            records.append({"kind": "train", "step": step, "epoch": epoch, "loss": 1 / step, "lr": 0.1 / step})
        end = {"step": (epoch + 1) * STEPS, "epoch": epoch}
        records.append({"kind": "epoch", **end, "loss": 0.5, "lr": 0.1})
        records.append({"kind": "val", **end, "mean_class_accuracy": 0.1 * epoch, "few": None})
    return records


def _table(taus: list[float]) -> list[dict]:
    scores = {"top1": 0.5, "many": 0.7, "medium": 0.5, "few": None}
    rows = [{"tau": tau, "mean_class_accuracy": 0.4 + 0.1 * tau, **scores} for tau in taus]
    return [{"tau": None, "mean_class_accuracy": 0.3, **scores}, *rows]


def test_curves_show_loss_score_and_rate(tmp_path: Path) -> None:
    curves(_records(), tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").shape == (840, 900, 3)
    for color in ("#2b6cb0", "#2f855a", "#6b46c1", "#c53030"):
        assert has_color(tmp_path / "curves.png", color)


@pytest.mark.parametrize(
    "records",
    [
        [],
        _records(1)[:2],
        _records(1),
        [row for row in _records() if row["kind"] != "train"],
        [row for row in _records() if row["kind"] != "val"],
    ],
)
def test_curves_of_a_run_that_has_barely_begun_are_drawn(tmp_path: Path, records: list[dict]) -> None:
    curves(records, tmp_path / "curves.png", metric="few")
    assert pixels(tmp_path / "curves.png").shape == (840, 900, 3)


def test_the_unmodified_line_and_the_chosen_tau_are_marked(tmp_path: Path) -> None:
    table = _table([0.0, 0.5, 1.0])
    tau_curve(table, tmp_path / "chosen.png", chosen=0.5)
    tau_curve(table, tmp_path / "unmodified.png", chosen=None)
    assert has_color(tmp_path / "chosen.png", "#c53030")
    assert not has_color(tmp_path / "unmodified.png", "#c53030")
    # The few-shot line is left out where no class is few-shot; the unmodified line crosses the whole plot.
    assert not has_color(tmp_path / "chosen.png", "#dd6b20")
    dark = (pixels(tmp_path / "chosen.png").sum(axis=2) < 250).sum(axis=1)
    assert dark.max() > 400


def test_one_tau_is_enough_for_a_plot(tmp_path: Path) -> None:
    tau_curve(_table([0.7]), tmp_path / "one.png", chosen=0.7)
    assert has_color(tmp_path / "one.png", "#2b6cb0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png"]
