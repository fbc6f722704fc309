"""The one form in which every command answers about a picture as JSON. Legend: N pictures, K places of a list.

    {"id": "a.jpg", "answer": {"kind": "product", "class": 12, "name": "Mango", "score": 0.93}, "candidates": [...]}
    {"id": "b.jpg", "error": "truncated"}

`kind` is `product`, or `unknown` where there is none; `class`, `name` and `score` are then null. A candidate has
`class`, `name`, `score` and what the command knows of it besides. `name` is null where the class has none.

Where thresholds decide (`decided`), the kind may also be `shortlist` or `family`, which name `classes` and their
`names`, and the promise stands beside the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

_ANSWER = ("class", "name", "score")


class Decided(Protocol):
    """What rules decided, as `calibration.promise.rules.Decision`."""

    @property
    def kind(self) -> str: ...

    @property
    def group(self) -> str | None: ...

    @property
    def rule(self) -> str: ...

    @property
    def members(self) -> tuple[int, ...]: ...

    @property
    def reason(self) -> str: ...


def candidate(label: int | None, name: str | None, score: float | None, **more: Any) -> dict[str, Any]:
    """One product that may be the answer. more: further fields, behind the three that every candidate has."""
    return {"class": label, "name": name or None, "score": score, **more}


def answered(image_id: str, candidates: Sequence[Mapping[str, Any]], is_known: bool = True) -> dict[str, Any]:
    """The answer about a picture. candidates: best first. is_known: whether the best one is the answer."""
    best = candidates[0] if candidates and is_known else {}
    answer = {"kind": "product" if best else "unknown", **{name: best.get(name) for name in _ANSWER}}
    return {"id": image_id, "answer": answer, "candidates": list(candidates)}


def decided(
    image_id: str, decision: Decided, candidates: Sequence[Mapping[str, Any]], names: Mapping[int, str], promise: Any
) -> dict[str, Any]:
    """The answer that rules gave about a picture, and what they promise.

    candidates: best first; a product is the first of them. names: of the classes that have one.
    """
    best = candidates[0] if candidates and decision.kind == "product" else {}
    answer: dict[str, Any] = {"kind": decision.kind, **{name: best.get(name) for name in _ANSWER}}
    answer["rule"] = decision.rule or None
    if decision.kind in ("shortlist", "family"):
        if decision.kind == "family":
            answer["family"] = decision.group
        answer["classes"] = list(decision.members)
        answer["names"] = [names.get(label) or None for label in decision.members]
    if decision.kind == "unknown":
        answer["reason"] = decision.reason
    return {"id": image_id, "answer": answer, "candidates": list(candidates), "promise": promise}


def unpromised(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of `answered`, by a command that could promise something, where nothing is promised."""
    return {**answer, "answer": {**answer["answer"], "rule": None}, "promise": None}


def unanswered(image_id: str, reason: str) -> dict[str, str]:
    """In place of an answer, why the picture could not be read."""
    return {"id": image_id, "error": reason}


def of_errors(errors: Mapping[str, str]) -> list[dict[str, str]]:
    """`unanswered` for each picture that could not be read. errors: id -> reason."""
    return [unanswered(image_id, reason) for image_id, reason in errors.items()]


def of_topk(
    ids: Iterable[str], classes: np.ndarray, scores: np.ndarray, names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """`answered` for N pictures with K candidates each. classes, scores: (N, K), NaN for no score."""
    return [
        answered(one, [candidate(label, names.get(label), score) for label, score in zip(row, of_row)])
        for one, row, of_row in zip(ids, classes.tolist(), scores.tolist())
    ]
