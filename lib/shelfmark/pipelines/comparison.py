"""What a comparison of runs found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shelfmark.evaluation.agreement import Agreement, ChangedClass
from shelfmark.evaluation.paired_scores import PairedScore
from shelfmark.runtime.paired_pictures import PairedPictures
from shelfmark.runtime.run_config import ConfigDifference


@dataclass(frozen=True)
class NamedChange:
    """A class that got better or worse, with its name."""

    name: str
    change: ChangedClass

    def as_json(self) -> dict[str, Any]:
        one = self.change
        return {
            "class": one.label,
            "name": self.name,
            "num_images": one.num_images,
            "right_before": one.right_first,
            "right_after": one.right_second,
            "difference": one.gain / one.num_images,
        }


@dataclass(frozen=True)
class AgainstFirst:
    """A run beside the first one.

    answers: how far their classifiers agree; None without val. p_values: of McNemar's exact test, by score. better,
    worse: classes, the greatest change first; num_better, num_worse: how many there are.
    """

    run: str
    answers: Agreement | None
    p_values: dict[str, float]
    num_better: int = 0
    num_worse: int = 0
    better: list[NamedChange] = field(default_factory=list)
    worse: list[NamedChange] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "answers": None if self.answers is None else asdict(self.answers),
            "p_values": self.p_values,
            "num_better": self.num_better,
            "num_worse": self.num_worse,
            "better": [one.as_json() for one in self.better],
            "worse": [one.as_json() for one in self.worse],
        }


@dataclass(frozen=True)
class Judgement:
    """A requirement, for one run. value: the score, or its difference from the first run's; low, high: its interval."""

    run: str
    requirement: str
    is_met: bool
    value: float | None
    low: float | None
    high: float | None
    told: str


def untrained_told(run: str) -> str:
    return f"{run}: no loss trained its classifier, so its answers say nothing; its scores of the search do"


@dataclass(frozen=True)
class Comparison:
    """runs: the facts of each, the first being the baseline. pictures: of val; searched: those of the search.

    untrained: the names of the runs whose classifier no loss trained, where classifiers are scored.
    """

    runs: list[dict[str, Any]]
    config: list[ConfigDifference]
    pictures: PairedPictures | None
    searched: PairedPictures | None
    scores: list[PairedScore]
    others: list[AgainstFirst]
    judgements: list[Judgement]
    page: Path | None = None
    untrained: tuple[str, ...] = ()

    @property
    def unmet(self) -> list[Judgement]:
        return [one for one in self.judgements if not one.is_met]

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "config": [asdict(one) for one in self.config],
            "images": _images_json(self.pictures),
            "searched_images": _images_json(self.searched),
            "scores": [_score_json(one) for one in self.scores],
            "against_first": [one.as_json() for one in self.others],
            "requirements": [asdict(one) for one in self.judgements],
            "holds": not self.unmet,
            "page": self.page,
        }


def _images_json(pictures: PairedPictures | None) -> dict[str, Any] | None:
    if pictures is None:
        return None
    return {
        "num_images": len(pictures),
        "paired_by": pictures.by,
        "num_left_out": pictures.num_left_out,
        "num_other_label": pictures.num_other_label,
    }


def _score_json(score: PairedScore) -> dict[str, Any]:
    models = range(len(score.values))
    rows = []
    for model in models:
        low, high = score.intervals[model] or (None, None)
        row: dict[str, Any] = {"value": score.values[model], "low": low, "high": high}
        if model:
            low, high = score.difference_intervals[model] or (None, None)
            row |= {"difference": score.differences[model], "difference_low": low, "difference_high": high}
            row |= {"verdict": score.verdict(model)}
        rows.append(row)
    return {"score": score.name, "runs": rows}
