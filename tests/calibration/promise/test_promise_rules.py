"""What a picture is answered, in cases worked by hand, and the same from the whole table of scores."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from shelfmark.calibration.promise.observed import FORMS, observed
from shelfmark.calibration.promise.promise import Promise
from shelfmark.calibration.promise.rules import Evidence, Rule, Rules, decide, members_of, score_of

# Five products in two families, and one without; 7 is known to the index alone.
GROUPS = {0: "tea", 1: "tea", 2: "jam", 3: "jam"}
SURE = Evidence(
    labels=np.array([0, 1, 2, 3, 7]),
    softmax=np.array([0.6, 0.2, 0.15, 0.05, 0.0]),
    energy=4.0,
    joined=np.array([0.5, 0.15, 0.2, 0.05, 0.1]),
    neighbour_labels=np.array([0, 0, 7, -1, 2]),
    neighbour_scores=np.array([0.9, 0.8, 0.6, 0.55, 0.5]),
)
RULE = {"kind": "product", "size": 1, "conditions": [{"score": "softmax", "at_least": 0.5}]}


@pytest.mark.parametrize(
    ("kind", "size", "members", "group"),
    [("product", 1, [0], None), ("shortlist", 3, [0, 2, 1], None), ("family", 1, [0, 1], "tea")],
)
def test_what_each_kind_would_name(kind: str, size: int, members: list[int], group: str | None) -> None:
    found, family = members_of(kind, size, SURE, GROUPS)
    assert (found.tolist(), family) == (members, group)


@pytest.mark.parametrize(
    ("score", "members", "value"),
    [
        ("softmax", [0], 0.6),
        ("softmax", [0, 1], 0.8),
        ("joined", [0, 2], 0.7),
        ("energy", [0], 4.0),
        ("nearest", [0], 0.9),
        ("nearest", [2, 7], 0.6),
        ("nearest", [1], -np.inf),
        ("margin", [0], 0.9 - 0.6),
        ("margin", [7], 0.6 - 0.9),
        # All neighbours with a label are of these: the next one is no nearer than the last.
        ("margin", [0, 7, 2], 0.9 - 0.5),
        ("margin", [3], -np.inf),
    ],
)
def test_the_value_of_each_score(score: str, members: list[int], value: float) -> None:
    assert score_of(score, SURE, np.array(members)) == pytest.approx(value)


def test_the_first_rule_whose_conditions_all_hold_decides() -> None:
    strict = Rule("product", {"margin": 0.2, "nearest": 0.95})
    short = Rule("shortlist", {"joined": 0.7}, 2)
    family = Rule("family", {"joined": 0.65})
    found = decide(Rules((strict, short, family), GROUPS), SURE)
    assert (found.kind, found.members, found.label) == ("shortlist", (0, 2), None)
    assert found.rule == "shortlist of 2: joined >= 0.7"
    found = decide(Rules((strict, family), GROUPS), SURE)
    assert (found.kind, found.group, found.members) == ("family", "tea", (0, 1))
    found = decide(Rules((Rule("product", {"margin": 0.2, "nearest": 0.9}),), GROUPS), SURE)
    assert (found.kind, found.label, found.rule) == ("product", 0, "product: margin >= 0.2 and nearest >= 0.9")


def test_a_value_at_the_threshold_is_answered() -> None:
    margin = score_of("margin", SURE, np.array([0]))
    assert decide(Rules((Rule("product", {"margin": margin}),)), SURE).kind == "product"
    assert decide(Rules((Rule("product", {"margin": np.nextafter(margin, 1)}),)), SURE).kind == "unknown"


def test_where_no_rule_decides_the_picture_is_unknown_and_the_reason_is_told() -> None:
    rules = Rules((Rule("product", {"nearest": 0.95}), Rule("family", {"joined": 0.9})), GROUPS)
    found = decide(rules, SURE)
    assert (found.kind, found.label, found.members, found.rule) == ("unknown", None, (), "")
    assert found.reason == "product: nearest is 0.9, and 0.95 is asked for"
    assert decide(Rules(()), SURE).kind == "unknown"


def test_a_rule_that_needs_an_index_answers_nothing_without_one() -> None:
    alone = Evidence(SURE.labels, SURE.softmax, SURE.energy)
    assert decide(Rules((Rule("product", {"nearest": -1.0}),)), alone).kind == "unknown"
    assert decide(Rules((Rule("product", {"softmax": 0.6}),)), alone).label == 0
    assert Rules((Rule("product", {"softmax": 0.5, "margin": 0.1}),)).needs_index
    assert not Rules((Rule("product", {"softmax": 0.5, "energy": 0.1}),)).needs_index


def test_nan_is_answered_by_no_rule() -> None:
    broken = Evidence(SURE.labels, np.full(5, np.nan), np.nan)
    assert decide(Rules((Rule("product", {"softmax": 0.0}), Rule("shortlist", {"energy": -9.0}, 2))), broken).kind == (
        "unknown"
    )


def test_rules_read_from_their_file_decide_as_before() -> None:
    rules = (Rule("product", {"margin": 0.1 + 0.2, "joined": 1 / 3}), Rule("shortlist", {"softmax": 0.7}, 3))
    told = [one.as_json() for one in rules]
    content = {"format": 1, "rules": told, "groups": {"0": "tea"}, "max_wrong": 0.01, "confidence": 0.95}
    assert Promise.of(json.loads(json.dumps(content))).rules == Rules(rules, {0: "tea"})
    with pytest.raises(ValueError, match="format is 2"):
        Promise.of({**content, "format": 2})
    with pytest.raises(ValueError, match="not whole"):
        Promise.of({"format": 1, "rules": [{"kind": "product"}]})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rules": None}, "not whole"),
        ({"rules": [RULE | {"kind": "unknown"}]}, "a rule of the kind 'unknown'"),
        ({"rules": [RULE | {"size": 0}]}, "size 0"),
        ({"rules": [RULE | {"size": "2"}]}, "size '2'"),
        ({"rules": [RULE | {"conditions": [{"score": "sofmax", "at_least": 0.5}]}]}, "a score 'sofmax'"),
        ({"rules": [RULE | {"conditions": [{"score": "energy", "at_least": math.nan}]}]}, "threshold of energy is nan"),
        ({"rules": [RULE | {"conditions": [{"score": "energy", "at_least": "3"}]}]}, "threshold of energy is '3'"),
        ({"groups": {"milk": "tea"}}, "milk"),
        ({"max_wrong": "1%"}, "max_wrong is '1%'"),
        ({"confidence": None}, "confidence is None"),
        ({"max_false_accept": 1.5}, "max_false_accept is 1.5"),
        ({"search": {"k": "x", "weight": 0.5, "temperature": 0.1}}, "its search is"),
        ({"search": {"k": 10, "weight": 0.5, "temperature": 0.1, "more": 1}}, "its search is"),
        ({"search": [10]}, "its search is"),
    ],
)
def test_a_file_that_was_damaged_or_changed_by_hand_promises_nothing(change: dict[str, Any], reason: str) -> None:
    content = {"format": 1, "rules": [RULE], "max_wrong": 0.01, "confidence": 0.95, "max_false_accept": None}
    content |= {"search": {"k": 10, "weight": 0.5, "temperature": 0.1}}
    assert Promise.of(content).rules.rules == (Rule("product", {"softmax": 0.5}),)
    with pytest.raises(ValueError, match=reason):
        Promise.of(content | change)


def test_many_pictures_at_once_are_decided_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    rules = Rules(
        (
            Rule("product", {"margin": 0.1, "softmax": 0.3}),
            Rule("shortlist", {"joined": 0.8}, 3),
            Rule("family", {"nearest": 0.7}),
        ),
        GROUPS,
    )
    labels = rng.integers(0, 5, 200)
    pictures = [_drawn(rng) for _ in labels]
    table = observed(pictures, labels, GROUPS, has_index=True)
    assert set(table.scores) == set(FORMS)
    decided, is_right = table.answered(rules)
    for row, picture in enumerate(pictures):
        one = decide(rules, picture)
        assert one.kind == ("unknown" if decided[row] < 0 else rules.rules[decided[row]].kind)
        assert is_right[row] == (labels[row] in one.members)
    assert set(decided.tolist()) == {-1, 0, 1, 2}


def _drawn(rng: np.random.Generator) -> Evidence:
    near = -np.sort(-rng.random(6))
    return Evidence(
        np.arange(5), rng.dirichlet(np.full(5, 0.5)), 1.0, rng.dirichlet(np.full(5, 0.4)), rng.integers(-1, 5, 6), near
    )
