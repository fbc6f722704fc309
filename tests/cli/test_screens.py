"""What stands on the screen at any width: paths whole, scores in percent, and no escape codes under NO_COLOR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import cluster_screens, index_screens, predict_screens, screens
from shelfmark.core.strings import Strings
from shelfmark.core.terminal import console_settings, duration, percent
from shelfmark.data.table import Table
from shelfmark.pipelines.calibrate import Calibration
from shelfmark.pipelines.predict import Prediction
from shelfmark.pipelines.search import Answer, Candidate

SUMMARY = {
    "top1": 0.46432,
    "top1_low": 0.428,
    "top1_high": 0.501,
    "mean_class_accuracy": 0.5,
    "recall@1": None,
    "num_images": 1234,
}
LONG = Path("runs of the whole year") / "2026-11-29_a_name_that_is_longer_than_any_line" / "and_another_folder_below_it"


@pytest.fixture(params=["60", "80", "120", ""])
def columns(request, monkeypatch):
    """The width of the terminal; '' for a pipe."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", request.param)
    return request.param


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LONG.mkdir(parents=True)
    for name in ("summary.json", "per_class.csv", "accuracy_by_frequency.png"):
        (LONG / name).touch()
    return LONG


def test_a_run_shows_each_path_whole(columns, folder, capsys):
    screens.trained(folder, SUMMARY)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert f"Scores of {folder}\n" in shown
    for name in ("summary.json", "per_class.csv", "accuracy_by_frequency.png"):
        assert any(str(folder / name) in line for line in shown.splitlines())
    assert "46.4% (42.8 - 50.1)" in shown


def test_a_search_shows_its_photograph_whole_and_its_scores_in_percent(columns, folder, capsys):
    photo = str(folder / "a photograph of a shelf, taken in the evening.jpg")
    answer = Answer(photo, candidates=(Candidate(7, "Oat milk", 0.83127, 3, str(folder / "b.jpg")),))
    index_screens.searched([answer])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert photo in shown.splitlines()
    assert "83.1%" in shown
    assert "0.8312" not in shown
    # Where there is room, or a pipe, each row is one line.
    assert (str(folder / "b.jpg") in shown) == (columns not in ("60", "80", "120"))


def test_clusters_show_percent(columns, folder, capsys):
    cluster_screens.clustered({"all": {"images": 2000, "clusters": 31, "pairwise_f": 0.70049, "nmi": None}}, folder)
    shown = capsys.readouterr().out
    assert "70.0%" in shown
    assert "2,000" in shown


def test_under_no_color_nothing_is_written_but_text(monkeypatch, folder, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    screens.trained(folder, SUMMARY)
    assert "\x1b[1m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    screens.trained(folder, SUMMARY)
    index_screens.searched([Answer("a.jpg", candidates=(Candidate(7, "Oat milk", 0.8, 3, "b.jpg"),))])
    cluster_screens.clustered({"all": {"images": 2}}, folder)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "Scores of" in shown


def test_an_empty_no_color_is_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert "color_system" not in console_settings()


@pytest.mark.parametrize(
    ("share", "text"), [(0.46432, "46.4%"), (1, "100.0%"), (-0.031, "-3.1%"), (None, "n/a"), (float("nan"), "n/a")]
)
def test_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (-1, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (6060, "1 h 41 min"),
        (11100, "3 h 05 min"),
        (172800, "2 d 0 h"),
        (360000, "4 d 4 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_no_score_and_no_interval_of_calibrate_is_cut(monkeypatch, capsys, folder, width):
    monkeypatch.setenv("COLUMNS", width)
    names = ("top1", "mean_class_accuracy", "many", "medium", "few")
    scores = {name: 0.905 for name in names} | {f"{name}_low": 0.8765 for name in names}
    row = {"method": "logit_adjustment", "learned": {}, "ece": 0.1234, **scores}
    row |= {f"{name}_high": 1.0 for name in names}
    chosen = row["method"]
    result = Calibration(folder, folder / "best_model", [row], chosen, chosen, {"top1": 0.9}, {})
    screens.calibrated(result)
    shown = capsys.readouterr().out
    assert "…" not in shown
    for text in ("logit_adjustment", "12.3%"):
        assert text in shown
    assert shown.count("90.5%") == 5
    assert shown.count("87.6-") == 5 or shown.count("87.7-") == 5
    assert shown.count("100.0") == 5


@pytest.mark.parametrize(("topk", "named"), [(Path("a_top2.csv"), "a_top2.csv"), (None, "a.csv")])
def test_predictions_that_are_not_shown_are_named_by_the_file_that_has_names(capsys, topk, named):
    ids = Strings.of(f"{row}.jpg" for row in range(23))
    table = Table(ids, np.full(23, -1), ids, 2, Path("/photos"), sha256="file")
    predict_screens.predicted(
        Prediction(table, np.zeros((23, 1), int), np.ones((23, 1)), Path("a.csv"), topk, {0: "Tea"})
    )
    shown = capsys.readouterr().out
    assert shown.count("Tea (0)") == 20
    assert f"and 3 more, in {named}\n" in shown
