"""Boxes of one photograph are right or wrong together, so a promise counts each photograph once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from shelfmark.calibration.promise import binomial
from shelfmark.calibration.promise.counted import Counted, Photographs, Wish, counted
from shelfmark.calibration.promise.learn import Needed, divided, learn
from shelfmark.calibration.promise.observed import FORMS, Observed, joined
from shelfmark.calibration.promise.rules import Rule, Rules

WISH = Wish(0.05, 0.9, None)
BOXES = 15


def shelves(rng: np.random.Generator, num_photographs: int) -> Observed:
    """Boxes whose answers are right where a photograph is good; scores know the box, and little of the photograph."""
    numbers = np.repeat(np.arange(num_photographs), BOXES)
    of_photograph, of_box = rng.normal(size=num_photographs)[numbers], rng.normal(size=len(numbers))
    is_right, scores = {}, {}
    for kind, size in FORMS:
        ease = {"product": 0.0, "shortlist": 0.4 * size, "family": 1.5}[kind]
        chance = 1 / (1 + np.exp(-(2.5 * of_photograph + 2 * of_box + 2 + ease)))
        is_right[kind, size] = rng.random(len(numbers)) < chance
        scores[kind, size] = {"softmax": of_box + 0.5 * of_photograph + 0.3 * rng.normal(size=len(numbers))}
    return Observed(np.arange(len(numbers)), is_right, scores, numbers)


@cache
def promised(by_photograph: bool) -> list[Counted]:
    """Of worlds in which a promise was given: what the rules do to far more photographs of the same world."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        known, new = shelves(rng, 400), shelves(rng, 3_000)
        rules = learn(known if by_photograph else replace(known, photographs=None), None, {}, WISH, seed).rules
        if rules is not None:
            found.append(counted(rules, new, None))
    return found


def num_broken(worlds: list[Counted]) -> int:
    broken = 0
    for world in worlds:
        wrong, trials = world.wrong_of_trials
        broken += wrong > WISH.max_wrong * trials
    return broken


def test_the_promise_over_boxes_is_broken_no_more_often_than_the_confidence_lets_it() -> None:
    worlds = promised(True)
    assert len(worlds) > 30
    assert binomial.at_most(len(worlds) - num_broken(worlds), len(worlds), WISH.confidence) > 0.01
    assert np.mean([world.coverage for world in worlds]) > 0.05


def test_boxes_that_are_counted_one_by_one_break_it_more_often() -> None:
    # Else the worlds above would say nothing.
    worlds = promised(False)
    assert binomial.at_most(len(worlds) - num_broken(worlds), len(worlds), WISH.confidence) < 0.01


def test_no_photograph_and_no_product_is_on_both_sides_of_the_division() -> None:
    rng = np.random.default_rng(0)
    known, unseen = shelves(rng, 60), shelves(rng, 60)
    unseen = replace(unseen, labels=10_000 + rng.integers(30, size=len(unseen)))
    choose, bound = (joined(part for part in half if part is not None) for half in _halves(known, unseen))
    assert choose.photographs is not None
    assert bound.photographs is not None
    assert not set(choose.photographs) & set(bound.photographs)
    assert not set(choose.labels) & set(bound.labels)
    assert len(set(choose.photographs)) == 20
    assert len(set(bound.photographs)) == 40


def _halves(known: Observed, unseen: Observed) -> tuple[tuple[Observed, Observed | None], ...]:
    halves = divided(known, unseen, seed=3)
    return halves.choose, halves.bound


def test_each_photograph_counts_once_by_the_share_of_its_answers_that_are_wrong() -> None:
    # Photograph 0: answers right, wrong. 2: one wrong answer, and a box without an answer. 5: three right ones.
    numbers = np.array([0, 0, 2, 2, 5, 5, 5])
    right = np.array([True, False, False, True, True, True, True])
    scores = {form: {"softmax": np.array([0.9, 0.8, 0.7, 0.1, 0.9, 0.9, 0.9])} for form in FORMS}
    known = Observed(np.arange(7), dict.fromkeys(FORMS, right), scores, numbers)
    found = counted(Rules((Rule("product", {"softmax": 0.5}),)), known, None)
    assert (found.num_pictures, found.num_answers, found.num_wrong) == (7, 6, 2)
    assert found.wrong_of_trials == (0.5 + 1.0 + 0.0, 3)


def test_one_photograph_that_is_wholly_wrong_is_one_error_however_many_boxes_it_has() -> None:
    one_bad = Photographs(np.array([40, *[1] * 199]), np.array([40, *[0] * 199]))
    found = Counted(239, 239, 40, photographs=one_bad)
    assert found.wrong_of_trials == (1.0, 200)
    low, high = found.wrong_bounds(0.95)
    assert low < 1 / 200 < high < 0.05
    assert Counted(239, 239, 40).wrong_bounds(0.95)[0] > 0.05


@pytest.mark.parametrize(("num_photographs", "keeps"), [(69, True), (68, False)])
def test_five_percent_at_95_takes_69_photographs_without_an_error(num_photographs: int, keeps: bool) -> None:
    wish = Wish(0.05, 0.95, None)
    assert Needed.of(wish, by_photograph=True).num_answers == 69
    answers = np.full(num_photographs, 40)
    found = Counted(10_000, 40 * num_photographs, 0, photographs=Photographs(answers, 0 * answers))
    assert found.keeps(wish) is keeps


def test_a_photograph_without_an_answer_says_nothing() -> None:
    answered = Photographs(np.array([3, 5]), np.array([1, 0]))
    with_others = Photographs(np.array([0, 3, 0, 5]), np.array([0, 1, 0, 0]))
    assert answered.wrong_shares.tolist() == with_others.wrong_shares.tolist() == [1 / 3, 0.0]
