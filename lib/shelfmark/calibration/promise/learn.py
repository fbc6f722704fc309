"""The thresholds that are promised: chosen on some pictures, tested on others.

The tests go along one sequence of rules that is fixed before the first test, from safe to lenient, each at the full
level, and end at the first that fails (Angelopoulos et al. 2021, "Learn then Test", section 3.2): the last rules that
passed break the promise with a probability of at most 1 - confidence, however long the sequence is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shelfmark.calibration.promise.bets import fewest_values
from shelfmark.calibration.promise.binomial import fewest_trials
from shelfmark.calibration.promise.counted import Counted, Wish, counted
from shelfmark.calibration.promise.observed import FORMS, Observed
from shelfmark.calibration.promise.paths import Chosen, Path, best_path, careful, is_expected, margins, safest
from shelfmark.calibration.promise.rules import FAMILY, SHORTLIST, Rules
from shelfmark.core.rng import numpy_generator

CHOOSE_SHARE = 1 / 3
_EXTRA_STEPS = 8
_ABOUT = 0.1
_FIRST_ACCEPTS = 0.7


@dataclass(frozen=True, eq=False)
class Halves:
    """Pictures of known products, and of products never seen or None: those that choose, and those of the bound."""

    choose: tuple[Observed, Observed | None]
    bound: tuple[Observed, Observed | None]


@dataclass(frozen=True, eq=False)
class Learned:
    """rules: those that are promised; None where not even the first rules of the sequence passed.

    bound: what the rules, or those first ones, did to the pictures of the bound. num_tests: rules that were tested.
    """

    rules: Rules | None
    bound: Counted
    num_tests: int
    halves: Halves


@dataclass(frozen=True)
class Needed:
    """What the promise needs of the pictures of the bound, with no error among them: answers, or photographs with
    answers; products never seen."""

    num_answers: int
    num_products: int | None

    @classmethod
    def of(cls, wish: Wish, by_photograph: bool = False) -> Needed:
        limit = wish.max_false_accept
        products = None if limit is None else fewest_trials(limit, wish.confidence)
        fewest = fewest_values if by_photograph else fewest_trials
        return cls(fewest(wish.max_wrong, wish.confidence), products)


def learn(
    known: Observed,
    unseen: Observed | None,
    groups: Mapping[int, str],
    wish: Wish,
    seed: int = 0,
    scores: tuple[str, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
) -> Learned:
    """The rules with the greatest coverage that are found to keep the wish.

    A third of the pictures of known products, drawn by the seed, and a third of the products never seen, choose scores
    and the sequence; of boxes a third of the photographs. All others are tested. scores, kinds: those that may be used;
    by default all.
    """
    halves = divided(known, unseen, seed)
    sequence = rules_in_sequence(halves, groups, wish, scores, kinds)
    passed: tuple[Rules, Counted] | None = None
    first: Counted | None = None
    num_tests = 0
    for rules in sequence:
        num_tests += 1
        found = counted(rules, *halves.bound)
        first = first or found
        if not found.keeps(wish):
            break
        passed = rules, found
    if passed is None:
        return Learned(None, first or counted(Rules(()), *halves.bound), num_tests, halves)
    return Learned(*passed, num_tests, halves)


def divided(known: Observed, unseen: Observed | None, seed: int) -> Halves:
    """Pictures of known products by picture, those of products never seen by product; boxes by photograph besides.

    A box of a product never seen belongs to a half only where product and photograph both do.
    """
    photographs = _photographs_that_choose(known, unseen, seed)
    chooses = _drawn(len(known), seed, "promise pictures") if photographs is None else photographs[known.photographs]
    if unseen is None:
        return Halves((known.take(chooses), None), (known.take(~chooses), None))
    products, number = np.unique(unseen.labels, return_inverse=True)
    product_chooses = _drawn(len(products), seed, "promise products")[number]
    unseen_chooses, is_tested = product_chooses, ~product_chooses
    if photographs is not None:
        photograph_chooses = photographs[unseen.photographs]
        unseen_chooses, is_tested = product_chooses & photograph_chooses, ~product_chooses & ~photograph_chooses
    return Halves((known.take(chooses), unseen.take(unseen_chooses)), (known.take(~chooses), unseen.take(is_tested)))


def _photographs_that_choose(known: Observed, unseen: Observed | None, seed: int) -> np.ndarray | None:
    """number -> bool, of all photographs; None where each picture is a photograph of its own."""
    if known.photographs is None:
        return None
    numbers = np.unique(known.photographs)
    if unseen is not None and unseen.photographs is not None:
        numbers = np.union1d(numbers, unseen.photographs)
    chooses = np.zeros(int(numbers.max(initial=0)) + 1, dtype=bool)
    chooses[numbers] = _drawn(len(numbers), seed, "promise photographs")
    return chooses


def rules_in_sequence(
    halves: Halves,
    groups: Mapping[int, str],
    wish: Wish,
    scores: tuple[str, ...] | None = None,
    kinds: tuple[str, ...] | None = None,
) -> list[Rules]:
    """The rules to test, in order. Only pictures of the half that chooses are looked at, and numbers of the other.

    One kind of answer comes first, alone: the short lists or families of the greatest coverage, as they are wrong far
    less often than products are; products, where neither is expected to keep the wish. Its threshold falls to where it
    is expected to hold. Then products, before it, take over what they can. Then the kinds that are left are added, for
    what is not answered yet. Each goes from strict to lenient. Then all thresholds fall on, step by step that of the
    kind whose further answers are wrong least often. Of all these rules the first to be tested are those that seem the
    safest.
    """
    chosen = _first(halves)
    product = best_path(FORMS[0], chosen, wish, scores)
    if product is None:
        return []
    kinds = tuple(kind for kind in (SHORTLIST, FAMILY) if kinds is None or kind in kinds)
    base = _widest(kinds, chosen, _with_room(wish), scores) or _widest(kinds, chosen, wish, scores)
    if base is None:
        places = [(product, product.aim)]
        sequence = [_at([(product, step)], groups) for step in range(product.start, product.aim + 1)]
    else:
        places = [(product, _taking_over(product, base, groups, chosen, wish)), (base, base.aim)]
        sequence = [_at([(base, step)], groups) for step in range(base.start, base.aim + 1)]
        sequence += [_at([(product, step), (base, base.aim)], groups) for step in range(places[0][1] + 1)]
    for kind in kinds:
        if base is None or kind != base.form[0]:
            more = _widest((kind,), _after(_at(places, groups), chosen, halves), wish, scores)
            if more is not None:
                sequence += [_at([*places, (more, step)], groups) for step in _spread(more)]
                places.append((more, more.aim))
    if not sequence:
        places = [(product, product.start - 1)]
    sequence += _falling_on(places, groups, chosen)
    return sequence[_safest(sequence, chosen, wish) :]


def _with_room(wish: Wish) -> Wish:
    """The wish for the kind that comes first: products before it are accepted falsely more often than it is."""
    limit = wish.max_false_accept
    return replace(wish, max_false_accept=None if limit is None else _FIRST_ACCEPTS * limit)


def _widest(kinds: tuple[str, ...], chosen: Chosen, wish: Wish, scores: tuple[str, ...] | None) -> Path | None:
    """The path with the greatest coverage whose first answers are of one of `kinds`; None where no path is expected to
    hold."""
    paths = [best_path(form, chosen, wish, scores) for form in FORMS if form[0] in kinds]
    return max((path for path in paths if path is not None and path.aim >= 0), key=_coverage, default=None)


def _taking_over(product: Path, base: Path, groups: Mapping[int, str], chosen: Chosen, wish: Wish) -> int:
    """The last step at which products before the other answers are expected to pass; -1 where none is."""
    steps = reversed(range(len(product.thresholds)))
    both = ((step, _at([(product, step), (base, base.aim)], groups)) for step in steps)
    found = ((step, counted(rules, chosen.known, chosen.unseen)) for step, rules in both)
    return next((step for step, counts in found if is_expected(counts, chosen, careful(wish))), -1)


def _falling_on(places: list[tuple[Path, int]], groups: Mapping[int, str], chosen: Chosen) -> list[Rules]:
    """Ever more lenient rules. places: each path with the step that it has reached."""
    found = []
    before = counted(_at(places, groups), chosen.known, None)
    while tries := [number for number, (path, step) in enumerate(places) if step + 1 < len(path.thresholds)]:
        options = []
        for number in tries:
            moved = [(path, step + (place == number)) for place, (path, step) in enumerate(places)]
            after = counted(_at(moved, groups), chosen.known, None)
            options.append((_share_wrong(before, after), number, moved, after))
        _, _, places, before = min(options, key=lambda one: one[:2])
        found.append(_at(places, groups))
    return found


def _at(places: list[tuple[Path, int]], groups: Mapping[int, str]) -> Rules:
    return Rules(tuple(path.rule(step) for path, step in places if step >= 0), groups)


def _share_wrong(before: Counted, after: Counted) -> float:
    """The share of the further answers that are wrong; a step may also turn one kind of answer into another."""
    more = max(1, after.num_answers - before.num_answers)
    return (after.num_wrong - before.num_wrong) / more


def _safest(sequence: list[Rules], chosen: Chosen, wish: Wish) -> int:
    """The place of the strictest rules that seem about as safe as the safest ones."""
    return safest(margins([counted(rules, chosen.known, chosen.unseen) for rules in sequence], chosen, wish), _ABOUT)


def _coverage(path: Path) -> float:
    return path.coverage


def _spread(path: Path) -> list[int]:
    """A few steps of the path up to its aim."""
    return np.unique(np.linspace(0, path.aim, _EXTRA_STEPS).astype(int)).tolist()


def _first(halves: Halves) -> Chosen:
    known, unseen = halves.choose
    num_unseen = 0 if unseen is None else len(unseen)
    bound_known, bound_unseen = halves.bound
    num_products = 0 if unseen is None else len(np.unique(unseen.labels))
    of_bound = 0 if bound_unseen is None else len(np.unique(bound_unseen.labels))
    # Without a product to choose by, those of the bound are taken to be refused.
    stand_in = num_products or of_bound
    return Chosen(
        known,
        unseen,
        np.ones(len(known), dtype=bool),
        np.ones(num_unseen, dtype=bool),
        replace(counted(Rules(()), known, None), num_products=stand_in),
        len(bound_known) / max(1, len(known)),
        of_bound / max(1, stand_in),
    )


def _after(rules: Rules, chosen: Chosen, halves: Halves) -> Chosen:
    known, unseen = halves.choose
    found = counted(rules, known, unseen)
    left = known.answered(rules)[0] < 0
    unseen_left = chosen.unseen_left if unseen is None else unseen.answered(rules)[0] < 0
    so_far = replace(found, num_products=chosen.so_far.num_products)
    return replace(chosen, known_left=left, unseen_left=unseen_left, so_far=so_far)


def _drawn(number: int, seed: int, role: str) -> np.ndarray:
    """(number,) bool: a random third, rounded down."""
    drawn = np.zeros(number, dtype=bool)
    drawn[numpy_generator(seed, role).permutation(number)[: int(number * CHOOSE_SHARE)]] = True
    return drawn
