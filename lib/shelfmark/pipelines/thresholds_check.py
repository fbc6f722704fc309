"""`shelfmark thresholds check`: whether a promise still holds on new labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.calibration.promise import binomial
from shelfmark.calibration.promise.counted import Counted, counted
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.core.together import from_main, together
from shelfmark.pipelines.thresholds import opened_index, report_folder, seen_pictures
from shelfmark.runtime.promised_pictures import Given
from shelfmark.runtime.thresholds_file import require_promise, search_settings, thresholds_file
from shelfmark.runtime.trained_model import TrainedModel


@dataclass(frozen=True)
class Share:
    """What was counted of one promise. limit: what was promised, at most. low, high: exact bounds of the true share,
    each at the confidence of the promise. count: of answers, wrong ones; of products never seen, and of photographs
    with boxes, the sum of their shares. unit: what a trial is, in the plural."""

    limit: float
    count: float
    trials: int
    low: float
    high: float
    unit: str

    @property
    def verdict(self) -> str:
        """broken: the share is surely above the limit. holds: it is surely at most the limit. open: neither."""
        if not self.trials:
            return "open"
        return "broken" if self.low > self.limit else "holds" if self.high <= self.limit else "open"

    def as_json(self) -> dict[str, Any]:
        names = ("limit", "count", "trials", "low", "high", "unit")
        return {**{name: getattr(self, name) for name in names}, "verdict": self.verdict}


@dataclass(frozen=True)
class Checked:
    """wrong, false_accept: None where nothing was promised, or no picture can tell. coverage: of the new pictures."""

    file: Path
    confidence: float
    coverage: float
    coverage_before: float
    wrong: Share
    false_accept: Share | None

    @property
    def is_broken(self) -> bool:
        """Whether the new pictures show that a promise does not hold."""
        return any(share is not None and share.verdict == "broken" for share in (self.wrong, self.false_accept))

    def as_json(self) -> dict[str, Any]:
        return {
            "thresholds": self.file,
            "holds": not self.is_broken,
            "confidence": self.confidence,
            "coverage": self.coverage,
            "coverage_before": self.coverage_before,
            "wrong": self.wrong.as_json(),
            "false_accept": None if self.false_accept is None else self.false_accept.as_json(),
        }


def check(model: TrainedModel, index_folder: Path | None, given: Given) -> Checked:
    """Counts what the thresholds of the index, or of the checkpoint, answer about new pictures."""
    if given.place is None:
        raise UserError("say which pictures: --images DIR, with a folder for each product, or --annotations FILE.")
    with together():
        promise = require_promise(model, index_folder)
        settings = search_settings(promise)
        index = opened_index(model, index_folder, settings)
    file = thresholds_file(model, index_folder)
    seen = seen_pictures(model, index, given, settings, report_folder(file, index_folder))

    def finish() -> Checked:
        found = counted(promise.rules, seen.known, seen.unseen)
        told = promise.thresholds
        accept = _accept(told["max_false_accept"], found, told["confidence"])
        wrong = _wrong(told["max_wrong"], found, told["confidence"])
        return Checked(file, told["confidence"], found.coverage, told["coverage"], wrong, accept)

    return from_main(finish, "thresholds")


def _wrong(limit: float, found: Counted, confidence: float) -> Share:
    unit = "answers" if found.photographs is None else "photographs with answers"
    return Share(limit, *found.wrong_of_trials, *found.wrong_bounds(confidence), unit)


def _accept(limit: float | None, found: Counted, confidence: float) -> Share | None:
    if limit is None or not found.num_products:
        if limit is not None:
            warn("none of the pictures is of a product that is not known, so nothing was checked of such products")
        return None
    counts = found.accepted, found.num_products
    low, high = binomial.mean_lower(*counts, confidence), binomial.mean_upper(*counts, confidence)
    return Share(limit, found.accepted, found.num_products, low, high, "products")
