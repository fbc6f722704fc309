"""The curves of risk against coverage that `shelfmark thresholds` wrote for a run, and the promise on them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from shelfmark.calibration.promise.rules import PRODUCT, Rule
from shelfmark.reports.run_page.confidence import RiskCurves
from shelfmark.retrieval.index_files import THRESHOLDS
from shelfmark.runtime.run_report.stored_run import or_none
from shelfmark.runtime.thresholds_file import read_thresholds

_CURVES = "risk_coverage"


def risk_of(folder: Path) -> RiskCurves | None:
    """Of the run's own thresholds or, without, of those of an index in its folder; None where there are none."""
    places = [(folder / THRESHOLDS, folder / "thresholds")]
    places += [(one, one.parent.with_name(f"{one.parent.name}_thresholds")) for one in folder.glob(f"*/{THRESHOLDS}")]
    for file, curves in places:
        tables = sorted(curves.glob(f"{_CURVES}*.csv"), key=lambda one: one.stat().st_mtime)
        promise = or_none(partial(read_thresholds, file))
        if promise is not None and tables and promise.rules.rules:
            return _curves(tables[-1], promise.rules.rules, float(promise.thresholds["max_wrong"]))
    return None


def _curves(file: Path, rules: Sequence[Rule], max_wrong: float) -> RiskCurves:
    """Of the score of the rule for products, with its threshold; without such a rule, of the first rule's score."""
    products = [rule for rule in rules if rule.kind == PRODUCT]
    score, least = next(iter((*products, *rules)[0].conditions.items()))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    answered = 0.0 if products else None
    with open(file, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["score"] != score:
                continue
            coverage = float(row["coverage"])
            found[row["bucket"]].append((coverage, float(row["risk"])))
            if answered is not None and row["bucket"] == "all" and float(row["at_least"]) >= least:
                answered = max(answered, coverage)
    curves = {name: (np.array(points)[:, 0], np.array(points)[:, 1]) for name, points in found.items()}
    return RiskCurves(score, curves, max_wrong, answered)
