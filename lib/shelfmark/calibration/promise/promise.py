"""The content of thresholds.json: rules, what they promise, and for which model and index. numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shelfmark.calibration.promise.rules import Decision, Evidence, Rules, decide

FORMAT = 1
CHECKPOINT, INDEX = "checkpoint_sha256", "index_sha256"


@dataclass(frozen=True, eq=False)
class Promise:
    """thresholds: the content of the file."""

    thresholds: Mapping[str, Any]
    rules: Rules

    @classmethod
    def of(cls, thresholds: Mapping[str, Any]) -> Promise:
        """ValueError: it was written by a later version, or something is missing."""
        if thresholds.get("format") != FORMAT:
            raise ValueError(f"its format is {thresholds.get('format')!r}, and this version reads {FORMAT}")
        try:
            return cls(thresholds, Rules.of(thresholds))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not whole: {error}") from None

    def decide(self, evidence: Evidence) -> Decision:
        """The answer for one picture."""
        return decide(self.rules, evidence)

    def as_json(self) -> dict[str, Any]:
        """As it stands beside an answer."""
        names = ("max_wrong", "confidence", "max_false_accept", "coverage")
        return {name: self.thresholds.get(name) for name in names}

    def stale(self, checkpoint_sha256: str, index_sha256: str | None, search: Mapping[str, Any] | None) -> str:
        """Why it says nothing about answers of this model, index and settings of the search; empty if it does."""
        told = self.thresholds
        if told.get(CHECKPOINT) != checkpoint_sha256:
            return "they were learned with another checkpoint"
        if told.get(INDEX) != index_sha256:
            return "they were learned with another index, or the index was changed since"
        if search is not None and (told.get("search") or {}) != dict(search):
            known = " ".join(f"--{name} {value:g}" for name, value in (told.get("search") or {}).items())
            return f"they were learned with {known}, and hold for these values alone"
        return ""
