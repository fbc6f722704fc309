"""The made-up run of `make bench-report`, small: it is a run, and its report has every part and every reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.pipelines.report import report

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_report


def test_the_made_up_run_is_reported_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_report, "_NUM_PICTURES", 20)
    # Among few classes, only images far from their centres are mistaken.
    monkeypatch.setattr(bench_report, "SPREAD", 40.0)
    run = bench_report.make_run(tmp_path, 12, 24, 100)
    found, counts = report(run), load_checkpoint(run / "best_model").manifest["counts"]
    assert sorted(counts, reverse=True) == list(counts)
    assert counts[0] > 5 * counts[-1] > 0
    html = found.page.read_text()
    assert "could not be made" not in html
    assert "is not in the folder or has other classes" not in html
    assert html.count('alt="What speaks for Product') >= 6
