"""What each kind of answer would have said about pictures whose product is known. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from shelfmark.calibration.promise.rules import (
    FAMILY,
    OF_CLASSIFIER,
    PRODUCT,
    SCORES,
    SHORTLIST,
    Evidence,
    Rule,
    Rules,
    members_of,
    score_of,
)

Form = tuple[str, int]
"""The kind of an answer and its size: ("shortlist", 3)."""
FORMS: tuple[Form, ...] = ((PRODUCT, 1), (SHORTLIST, 2), (SHORTLIST, 3), (SHORTLIST, 5), (FAMILY, 1))


@dataclass(frozen=True, eq=False)
class Observed:
    """labels: (N,) int64, of the true products; those of products never seen tell them apart.

    is_right: form -> (N,) bool, whether the answer has the product. scores: form -> score -> (N,) float64; -inf where a
    picture has no such answer. photographs: (N,) int64, the number of the photograph that each picture is a box of;
    None where each is a photograph of its own.
    """

    labels: np.ndarray
    is_right: Mapping[Form, np.ndarray]
    scores: Mapping[Form, Mapping[str, np.ndarray]]
    photographs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def score_names(self) -> tuple[str, ...]:
        return tuple(self.scores[FORMS[0]])

    def take(self, rows: np.ndarray) -> Observed:
        """The pictures at `rows` (integers or a mask)."""
        return Observed(
            self.labels[rows],
            {form: right[rows] for form, right in self.is_right.items()},
            {form: {name: found[rows] for name, found in of.items()} for form, of in self.scores.items()},
            None if self.photographs is None else self.photographs[rows],
        )

    def meets(self, rule: Rule) -> np.ndarray:
        """(N,) bool: whether the conditions of the rule hold."""
        form = (rule.kind, rule.size)
        held = np.ones(len(self), dtype=bool)
        for score, least in rule.conditions.items():
            held &= self.scores[form][score] >= least
        return held

    def answered(self, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
        """(N,) int64 the number of the rule that decides, -1 for unknown; (N,) bool, whether its answer is right."""
        decided = np.full(len(self), -1)
        is_right = np.zeros(len(self), dtype=bool)
        for number, rule in enumerate(rules.rules):
            rows = (decided < 0) & self.meets(rule)
            decided[rows] = number
            is_right[rows] = self.is_right[rule.kind, rule.size][rows]
        return decided, is_right


def observed(
    evidence: Iterable[Evidence],
    labels: np.ndarray,
    groups: Mapping[int, str],
    has_index: bool,
    photographs: np.ndarray | None = None,
) -> Observed:
    """The evidence of pictures, by what would be answered. labels: (N,) int64, the true ones. photographs: as in
    `Observed`.

    groups: label -> family, of the labels that may be answered. The answer of a product that is not among them is never
    right, nor is a family.
    """
    names = SCORES if has_index else OF_CLASSIFIER
    is_right: dict[Form, np.ndarray] = {form: np.zeros(len(labels), dtype=bool) for form in FORMS}
    scores = {form: {name: np.full(len(labels), -np.inf) for name in names} for form in FORMS}
    for row, one in enumerate(evidence):
        for form in FORMS:
            members, _ = members_of(*form, one, groups)
            if len(members):
                is_right[form][row] = bool((members == labels[row]).any())
                for name in names:
                    scores[form][name][row] = score_of(name, one, members)
    return Observed(labels, is_right, scores, photographs)


def joined(parts: Iterable[Observed]) -> Observed:
    """The pictures of all parts, in their order. Either all parts have photographs, or none."""
    parts = list(parts)
    photographs = [part.photographs for part in parts if part.photographs is not None]
    return Observed(
        np.concatenate([part.labels for part in parts]),
        {form: np.concatenate([part.is_right[form] for part in parts]) for form in FORMS},
        {
            form: {name: np.concatenate([part.scores[form][name] for part in parts]) for name in parts[0].score_names}
            for form in FORMS
        },
        np.concatenate(photographs) if photographs else None,
    )
