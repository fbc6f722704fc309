"""The content of thresholds.json: rules, what they promise, and for which model and index. numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from shelfmark.calibration.promise.rules import Decision, Evidence, Rules, decide

FORMAT = 1
CHECKPOINT, INDEX = "checkpoint_sha256", "index_sha256"
_SEARCH = {"k", "weight", "temperature"}


@dataclass(frozen=True, eq=False)
class Promise:
    """thresholds: the content of the file."""

    thresholds: Mapping[str, Any]
    rules: Rules

    @classmethod
    def of(cls, thresholds: Mapping[str, Any]) -> Promise:
        """ValueError: it was written by a later version, or something is missing or is not what it should be."""
        if thresholds.get("format") != FORMAT:
            raise ValueError(f"its format is {thresholds.get('format')!r}, and this version reads {FORMAT}")
        try:
            rules = Rules.of(thresholds)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not whole: {error}") from None
        _require_numbers(thresholds)
        return cls(thresholds, rules)

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


def _require_numbers(thresholds: Mapping[str, Any]) -> None:
    for name in ("max_wrong", "confidence", "max_false_accept"):
        value: object = thresholds.get(name)
        if not (_is_number(value) and 0 < value < 1) and not (value is None and name == "max_false_accept"):
            raise ValueError(f"its {name} is {value!r}, and no share between 0 and 1")
    search = thresholds.get("search")
    if search is None:
        return
    if not isinstance(search, Mapping) or search.keys() != _SEARCH or not all(map(_is_number, search.values())):
        raise ValueError(f"its search is {search!r}, and not numbers for {', '.join(sorted(_SEARCH))}")


def _is_number(value: object) -> TypeGuard[int | float]:
    return type(value) in (int, float)
