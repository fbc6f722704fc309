"""The one form in which every command answers about a picture as JSON. Legend: N pictures, K places of a list.

    {"id": "a.jpg", "answer": {"kind": "product", "class": 12, "name": "Mango", "score": 0.93}, "candidates": [...]}
    {"id": "b.jpg", "error": "truncated"}

`kind` is `product`, or `unknown` where there is none; `class`, `name` and `score` are then null. A candidate has
`class`, `name`, `score` and what the command knows of it besides. `name` is null where the class has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_ANSWER = ("class", "name", "score")


def candidate(label: int | None, name: str | None, score: float | None, **more: Any) -> dict[str, Any]:
    """One product that may be the answer. more: further fields, behind the three that every candidate has."""
    return {"class": label, "name": name or None, "score": score, **more}


def answered(image_id: str, candidates: Sequence[Mapping[str, Any]], is_known: bool = True) -> dict[str, Any]:
    """The answer about a picture. candidates: best first. is_known: whether the best one is the answer."""
    best = candidates[0] if candidates and is_known else {}
    answer = {"kind": "product" if best else "unknown", **{name: best.get(name) for name in _ANSWER}}
    return {"id": image_id, "answer": answer, "candidates": list(candidates)}


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
