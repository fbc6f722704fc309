"""A path of thresholds for one kind of answer, from strict to lenient, and the choice among paths.

All of this is estimated, on pictures that the bound does not use; what is promised is tested elsewhere.

Legend: N pictures, T tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shelfmark.calibration.promise.counted import Counted, Photographs, Wish
from shelfmark.calibration.promise.observed import Form, Observed
from shelfmark.calibration.promise.rules import Rule

_STEPS = 64
_GATE_LOSSES = (0.02, 0.05, 0.1, 0.2, 0.35)
_GATE_GAIN = 0.01
_ENOUGH = 1.0
"""Standard deviations by which the answers are to pass before strictness counts."""
_ROOM = 0.5
"""Half of the errors that are promised: kinds of answers that come later, and luck in the choice, need the rest."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The part that chooses. known_left, unseen_left: (N,) bool, pictures that no rule before answers.

    so_far: what the rules before do. known_scale, unseen_scale: how many times as many pictures, and products never
    seen, the bound will have.
    """

    known: Observed
    unseen: Observed | None
    known_left: np.ndarray
    unseen_left: np.ndarray
    so_far: Counted
    known_scale: float
    unseen_scale: float


@dataclass(frozen=True, eq=False)
class Path:
    """score: whose threshold moves. gates: further conditions, which stay. thresholds: (T,) falling.

    aim: the last step that is expected to keep the promise; -1 where none is. start: the step that is expected to keep
    it most safely. coverage: at the aim, as a share of all pictures. margin: of the start, see `margins`.
    """

    form: Form
    score: str
    gates: Mapping[str, float]
    thresholds: np.ndarray
    start: int
    aim: int
    coverage: float
    margin: float

    def rule(self, step: int) -> Rule:
        kind, size = self.form
        return Rule(kind, {self.score: float(self.thresholds[step]), **self.gates}, size)


def best_path(form: Form, chosen: Chosen, wish: Wish, scores: tuple[str, ...] | None = None) -> Path | None:
    """The path with the greatest coverage; of paths that keep no promise the one that is nearest to it. None: no
    picture is left that could be answered so.

    scores: those that may be used; by default all. A path with a gate must win a hundredth of the pictures by it.
    """
    best: Path | None = None
    for score, gates in _candidates(form, chosen, scores or chosen.known.score_names):
        path = _path(form, score, gates, chosen, wish)
        if path is not None and (best is None or _is_better(path, best)):
            best = path
    return best


def _is_better(path: Path, best: Path) -> bool:
    if (path.aim < 0) != (best.aim < 0):
        return path.aim >= 0
    if path.aim < 0:
        return path.margin > best.margin
    return path.coverage > best.coverage + _GATE_GAIN * (len(path.gates) > len(best.gates))


def _candidates(form: Form, chosen: Chosen, scores: tuple[str, ...]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each score alone, then each with a gate by another: a threshold that costs some of the right answers."""
    for score in scores:
        yield score, {}
    is_right = chosen.known_left & chosen.known.is_right[form]
    for gate in scores:
        values = chosen.known.scores[form][gate][is_right]
        values = values[np.isfinite(values)]
        for least in np.unique(np.quantile(values, _GATE_LOSSES, method="lower")) if len(values) else ():
            for score in scores:
                if score != gate:
                    yield score, {gate: float(least)}


def _path(form: Form, score: str, gates: Mapping[str, float], chosen: Chosen, wish: Wish) -> Path | None:
    rows = _rows(form, score, gates, chosen.known, chosen.known_left)
    values = chosen.known.scores[form][score][rows]
    order = np.argsort(-values, kind="stable")
    rows, values = rows[order], values[order]
    if not len(values):
        return None
    places = np.unique(np.linspace(0, len(values) - 1, _STEPS).astype(int))
    thresholds = np.unique(values[places])[::-1]
    # All pictures at a threshold are answered together.
    num_answers = np.searchsorted(-values, -thresholds, side="right")
    is_wrong = ~chosen.known.is_right[form][rows]
    accepted = _accepted(form, score, gates, chosen, thresholds)
    steps = _Steps(
        num_answers,
        np.cumsum(is_wrong)[num_answers - 1],
        accepted,
        chosen,
        _by_photograph(chosen, rows, is_wrong, num_answers),
    )
    found = margins([steps.counted(step) for step in range(len(steps))], chosen, wish)
    start = safest(found)
    aim = _aim(steps, wish)
    start = start if aim < 0 else min(start, aim)
    coverage = steps.counted(max(aim, start)).coverage
    return Path(form, score, dict(gates), thresholds, start, aim, coverage, float(found[start].min()))


@dataclass(frozen=True, eq=False)
class _Steps:
    """What each step of a path answers besides the rules before it: (T,) answers, wrong ones, products never seen.

    photographs: of each step, with the rules before it; None where each picture is a photograph of its own.
    """

    num_answers: np.ndarray
    num_wrong: np.ndarray
    accepted: np.ndarray
    chosen: Chosen
    photographs: tuple[Photographs, ...] | None

    def __len__(self) -> int:
        return len(self.num_answers)

    def counted(self, step: int) -> Counted:
        """With the rules before, on the pictures that choose."""
        before = self.chosen.so_far
        return replace(
            before,
            num_answers=before.num_answers + int(self.num_answers[step]),
            num_wrong=before.num_wrong + int(self.num_wrong[step]),
            accepted=before.accepted + float(self.accepted[step]),
            photographs=None if self.photographs is None else self.photographs[step],
        )

    def is_expected(self, step: int, wish: Wish) -> bool:
        """Whether the step is expected to pass: with room in its own answers, and all answers together."""
        if self.num_wrong[step] > _ROOM * wish.max_wrong * self.num_answers[step]:
            return False
        return _passes(self.counted(step), self.chosen, wish)


def careful(wish: Wish) -> Wish:
    """The wish at half the level that the test has."""
    return Wish(wish.max_wrong, 1 - (1 - wish.confidence) / 2, wish.max_false_accept)


def is_expected(counts: Counted, chosen: Chosen, wish: Wish) -> bool:
    """Whether rules are expected to pass, with room for errors. counts: on the pictures that choose."""
    wrong, trials = counts.wrong_of_trials
    return wrong <= _ROOM * wish.max_wrong * trials and _passes(counts, chosen, wish)


def _passes(counts: Counted, chosen: Chosen, wish: Wish) -> bool:
    return counts.scaled(chosen.known_scale, chosen.unseen_scale).keeps(wish)


def _aim(steps: _Steps, wish: Wish) -> int:
    """The last step that is expected to pass, at half the level that the test has; -1 where none is."""
    return next((step for step in reversed(range(len(steps))) if steps.is_expected(step, careful(wish))), -1)


def _rows(form: Form, score: str, gates: Mapping[str, float], pictures: Observed, left: np.ndarray) -> np.ndarray:
    """(n,) the pictures that are left, have the score, and pass the gates."""
    rows = left & np.isfinite(pictures.scores[form][score])
    for gate, least in gates.items():
        rows = rows & (pictures.scores[form][gate] >= least)
    return np.flatnonzero(rows)


def _by_photograph(
    chosen: Chosen, rows: np.ndarray, is_wrong: np.ndarray, num_answers: np.ndarray
) -> tuple[Photographs, ...] | None:
    """The photographs after each step, which answers the first `num_answers` of the rows."""
    before, numbers = chosen.so_far.photographs, chosen.known.photographs
    if before is None or numbers is None:
        return None
    found = []
    for count in num_answers.tolist():
        more = Photographs.of(numbers[rows[:count]], is_wrong[:count], len(before.num_answers) - 1)
        found.append(before.with_answers(more))
    return tuple(found)


def _accepted(form: Form, score: str, gates: Mapping[str, float], chosen: Chosen, thresholds: np.ndarray) -> np.ndarray:
    """(T,) the sum over products never seen of the share of pictures that this path answers at each threshold."""
    unseen = chosen.unseen
    if unseen is None or not len(unseen):
        return np.zeros(len(thresholds))
    _, number, sizes = np.unique(unseen.labels, return_inverse=True, return_counts=True)
    rows = chosen.unseen_left.copy()
    for gate, least in gates.items():
        rows &= unseen.scores[form][gate] >= least
    values, weights = unseen.scores[form][score][rows], (1 / sizes)[number][rows]
    order = np.argsort(-values, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    return sums[np.searchsorted(-values[order], -thresholds, side="right")]


def margins(counts: Sequence[Counted], chosen: Chosen, wish: Wish) -> np.ndarray:
    """(n, 2) by how many standard deviations each of the counts is expected to pass the test of the answers, and the
    one of products never seen.

    The counts are of the pictures that choose; those of the bound are expected to be worse, as the best of many steps
    was lucky too.
    """
    wrong, trials = np.array([one.wrong_of_trials for one in counts], dtype=np.float64).T
    of_answers = _margin(wrong, trials, wish.max_wrong, chosen.known_scale)
    if wish.max_false_accept is None:
        return np.stack([of_answers, of_answers], axis=1)
    accepted, num_products = np.array([one.accepted for one in counts]), np.array(chosen.so_far.num_products)
    of_unseen = _margin(accepted, num_products, wish.max_false_accept, chosen.unseen_scale)
    return np.stack([of_answers, of_unseen], axis=1)


def safest(found: np.ndarray, about: float = 0.0) -> int:
    """The first place whose margins are about as good as the best. found: (n, 2), from strict to lenient.

    By the test that is nearer to failing. Where that is about the same, the margin of the answers has to be enough too:
    with few products never seen all strict rules seem alike, and the first of them give too few answers to pass."""
    nearer, of_answers = found.min(axis=1), np.minimum(found[:, 0], _ENOUGH)
    is_near = nearer >= nearer.max() - about
    return int(np.flatnonzero(is_near & (of_answers >= of_answers[is_near].max() - about))[0])


def _margin(counts: np.ndarray, trials: np.ndarray, limit: float, scale: float) -> np.ndarray:
    expected = limit * trials
    unlucky = counts + 1.5 * np.sqrt(counts + 1)
    return (expected - unlucky) * scale / np.sqrt(np.maximum(expected * scale, 1e-9))
