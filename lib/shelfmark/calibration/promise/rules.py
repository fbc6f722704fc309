"""What a picture is answered: a product, a short list, a family, or unknown. Legend: C classes, K neighbours.

A rule has a kind and conditions, each `score >= at_least`. The rules are asked in their order, and the first whose
conditions all hold decides; where none does, the answer is unknown. numpy alone: an export carries this file along.

Each score is of the labels S that a rule would answer:

    softmax   the classifier's probabilities of S, added up
    energy    the log-sum-exp of the logits, whatever S is
    joined    the probabilities of classifier and neighbours together, added up
    nearest   the similarity of the nearest gallery image of S
    margin    `nearest` less the similarity of the nearest gallery image of another label
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PRODUCT, SHORTLIST, FAMILY, UNKNOWN = KINDS = ("product", "shortlist", "family", "unknown")
OF_CLASSIFIER = ("softmax", "energy")
OF_INDEX = ("joined", "nearest", "margin")
SCORES = (*OF_CLASSIFIER, *OF_INDEX)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one picture.

    labels: (C,) int64 that may be answered. softmax: (C,) the classifier's probabilities; 0 for a label that only the
    index knows. energy: log-sum-exp of its logits. joined: (C,) probabilities of classifier and neighbours together.
    neighbour_labels: (K,) int64, -1 for none. neighbour_scores: (K,) similarities, falling. The last three are None
    without an index.
    """

    labels: np.ndarray
    softmax: np.ndarray
    energy: float
    joined: np.ndarray | None = None
    neighbour_labels: np.ndarray | None = None
    neighbour_scores: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """(C,) by which products are ranked."""
        return self.softmax if self.joined is None else self.joined


@dataclass(frozen=True)
class Rule:
    """conditions: score -> the least value at which it holds. size: products on a short list."""

    kind: str
    conditions: Mapping[str, float]
    size: int = 1

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Rule:
        """From what `as_json` gives. ValueError: it is none that this version knows."""
        kind, size = told["kind"], told["size"]
        if kind not in KINDS[:-1]:
            raise ValueError(f"it has a rule of the kind {kind!r}")
        if type(size) is not int or size < 1:
            raise ValueError(f"its {kind} has the size {size!r}")
        conditions = {one["score"]: one["at_least"] for one in told["conditions"]}
        for score, least in conditions.items():
            if score not in SCORES:
                raise ValueError(f"it asks for a score {score!r}")
            if type(least) not in (int, float) or not math.isfinite(least):
                raise ValueError(f"its threshold of {score} is {least!r}")
        return cls(kind, {score: float(least) for score, least in conditions.items()}, size)

    @property
    def name(self) -> str:
        """As an answer shows it: `product: margin >= 0.21`."""
        what = f"{self.kind} of {self.size}" if self.kind == SHORTLIST else self.kind
        return f"{what}: {' and '.join(f'{score} >= {least:.3g}' for score, least in self.conditions.items())}"

    def as_json(self) -> dict[str, Any]:
        """A member of `rules` in thresholds.json."""
        conditions = [{"score": score, "at_least": least} for score, least in self.conditions.items()]
        return {"name": self.name, "kind": self.kind, "size": self.size, "conditions": conditions}


@dataclass(frozen=True)
class Rules:
    """rules: in the order in which they are asked. groups: label -> its family, of the labels that have one."""

    rules: tuple[Rule, ...]
    groups: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, thresholds: Mapping[str, Any]) -> Rules:
        """The rules in the content of a thresholds.json. ValueError: as of `Rule.of`."""
        rules = tuple(Rule.of(one) for one in thresholds["rules"])
        return cls(rules, {int(label): group for label, group in (thresholds.get("groups") or {}).items()})

    @property
    def needs_index(self) -> bool:
        """Whether a rule asks for a score that the classifier alone does not give."""
        return any(score in OF_INDEX for rule in self.rules for score in rule.conditions)


@dataclass(frozen=True)
class Decision:
    """label: of a product. group: of a family. rule: the name of the rule that decided; empty for unknown.

    members: the labels that the answer names, the most probable first. reason: why the picture is unknown.
    """

    kind: str
    label: int | None = None
    group: str | None = None
    rule: str = ""
    members: tuple[int, ...] = ()
    reason: str = ""


def decide(rules: Rules, evidence: Evidence) -> Decision:
    """The answer for one picture."""
    unmet = ""
    for rule in rules.rules:
        members, group = members_of(rule.kind, rule.size, evidence, rules.groups)
        fails = _first_unmet(rule, evidence, members) if len(members) else "no family has two products"
        if not fails:
            labels = tuple(int(label) for label in members)
            return Decision(rule.kind, labels[0] if rule.kind == PRODUCT else None, group, rule.name, labels)
        unmet = unmet or f"{rule.kind}: {fails}"
    return Decision(UNKNOWN, reason=unmet or "there is no rule")


def members_of(kind: str, size: int, evidence: Evidence, groups: Mapping[int, str]) -> tuple[np.ndarray, str | None]:
    """(labels that an answer of the kind would name, the most probable first; the family). No label: no such answer."""
    probabilities, labels = evidence.probabilities, evidence.labels
    if kind == FAMILY:
        return _family(evidence, groups)
    if kind == PRODUCT:
        return labels[[int(probabilities.argmax())]] if len(labels) else labels, None
    return labels[np.argsort(-probabilities, kind="stable")[:size]], None


def score_of(score: str, evidence: Evidence, members: np.ndarray) -> float:
    """The value of a score for the labels `members` (n,); -inf where the evidence does not have it."""
    if score == "energy":
        return float(evidence.energy)
    if score in ("softmax", "joined"):
        probabilities = evidence.softmax if score == "softmax" else evidence.joined
        return -np.inf if probabilities is None else float(probabilities[np.isin(evidence.labels, members)].sum())
    return _similarity(score, evidence, members)


def _similarity(score: str, evidence: Evidence, members: np.ndarray) -> float:
    """`nearest` or `margin`."""
    labels, scores = evidence.neighbour_labels, evidence.neighbour_scores
    if labels is None or scores is None:
        return -np.inf
    scores = scores[labels >= 0].astype(np.float64)
    is_member = np.isin(labels[labels >= 0], members)
    if not is_member.any():
        return -np.inf
    nearest = float(scores[is_member].max())
    if score == "nearest":
        return nearest
    # Where all neighbours are of S, the next image of another label is no nearer than the last of them.
    rivals = scores[~is_member]
    return nearest - float(rivals.max() if len(rivals) else scores.min())


def _family(evidence: Evidence, groups: Mapping[int, str]) -> tuple[np.ndarray, str | None]:
    """The labels of the family with the greatest probability; none where it has fewer than two."""
    of_label = [groups.get(int(label), "") for label in evidence.labels]
    names, number = np.unique(of_label, return_inverse=True)
    sums = np.bincount(number, weights=evidence.probabilities, minlength=len(names))
    sums[names == ""] = -np.inf
    if not len(names) or not np.isfinite(sums.max()):
        return evidence.labels[:0], None
    best = int(sums.argmax())
    places = np.flatnonzero(number == best)
    if len(places) < 2:
        return evidence.labels[:0], None
    order = np.argsort(-evidence.probabilities[places], kind="stable")
    return evidence.labels[places[order]], str(names[best])


def _first_unmet(rule: Rule, evidence: Evidence, members: np.ndarray) -> str:
    """The first condition that does not hold, in words; empty if all hold."""
    for score, least in rule.conditions.items():
        value = score_of(score, evidence, members)
        if not value >= least:
            shown = f"{value:.3g}" if np.isfinite(value) else "missing"
            return f"{score} is {shown}, and {least:.3g} is asked for"
    return ""
