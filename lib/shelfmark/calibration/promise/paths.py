"""A path of thresholds for one kind of answer, from strict to lenient, and the choice among paths.

All of this is estimated, on pictures that the bound does not use; what is promised is tested elsewhere.

Legend: N pictures, T tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from shelfmark.calibration.promise.counted import Counted, Wish
from shelfmark.calibration.promise.observed import Form, Observed
from shelfmark.calibration.promise.rules import Rule

_STEPS = 64
_GATE_LOSSES = (0.02, 0.05, 0.1, 0.2, 0.35)
_GATE_GAIN = 0.01
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
    it most safely. coverage: at the aim, as a share of all pictures. loss: how far the start is from the promise.
    """

    form: Form
    score: str
    gates: Mapping[str, float]
    thresholds: np.ndarray
    start: int
    aim: int
    coverage: float
    loss: float

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
        return path.loss < best.loss
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
    values, right = _values(form, score, gates, chosen.known, chosen.known_left)
    order = np.argsort(-values, kind="stable")
    values, right = values[order], right[order]
    if not len(values):
        return None
    places = np.unique(np.linspace(0, len(values) - 1, _STEPS).astype(int))
    thresholds = np.unique(values[places])[::-1]
    # All pictures at a threshold are answered together.
    num_answers = np.searchsorted(-values, -thresholds, side="right")
    num_wrong = np.cumsum(~right)[num_answers - 1]
    accepted = _accepted(form, score, gates, chosen, thresholds)
    steps = _Steps(num_answers, num_wrong, accepted, chosen)
    losses = steps.losses(wish)
    start = int(losses.argmin())
    aim = _aim(steps, start, wish)
    coverage = steps.counted(max(aim, start)).coverage
    return Path(form, score, dict(gates), thresholds, start, aim, coverage, float(losses[start]))


@dataclass(frozen=True, eq=False)
class _Steps:
    """What each step of a path answers besides the rules before it: (T,) answers, wrong ones, products never seen."""

    num_answers: np.ndarray
    num_wrong: np.ndarray
    accepted: np.ndarray
    chosen: Chosen

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
        )

    def is_expected(self, step: int, wish: Wish) -> bool:
        """Whether the step is expected to pass: with room in its own answers, and all answers together."""
        if self.num_wrong[step] > _ROOM * wish.max_wrong * self.num_answers[step]:
            return False
        return self.counted(step).scaled(self.chosen.known_scale, self.chosen.unseen_scale).keeps(wish)

    def losses(self, wish: Wish) -> np.ndarray:
        """(T,) `loss_of` each step."""
        before = self.chosen.so_far
        return loss_of(
            before.num_wrong + self.num_wrong,
            before.num_answers + self.num_answers,
            before.accepted + self.accepted,
            before.num_products,
            wish,
        )


def _aim(steps: _Steps, start: int, wish: Wish) -> int:
    """The last step from the start on up to which all are expected to pass, at half the level that the test has."""
    careful = Wish(wish.max_wrong, 1 - (1 - wish.confidence) / 2, wish.max_false_accept)
    aim = -1
    for step in range(start, len(steps)):
        if not steps.is_expected(step, careful):
            break
        aim = step
    return aim


def _values(
    form: Form, score: str, gates: Mapping[str, float], pictures: Observed, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) scores and (n,) bool of the pictures that are left and pass the gates."""
    rows = left & np.isfinite(pictures.scores[form][score])
    for gate, least in gates.items():
        rows = rows & (pictures.scores[form][gate] >= least)
    return pictures.scores[form][score][rows], pictures.is_right[form][rows]


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


def loss_of(
    num_wrong: np.ndarray, num_answers: np.ndarray, accepted: np.ndarray, num_products: int, wish: Wish
) -> np.ndarray:
    """(T,) about by which factors the bounds exceed what is to be promised, added up; quick, for the choice alone.

    By the pictures that choose, not by as many as the bound has: few of them may be right by luck.
    """
    wrong = _rough_upper(num_wrong, num_answers) / wish.max_wrong
    if wish.max_false_accept is None:
        return wrong
    # A sum, not the greater of the two: with few products the second is large, and the first would say nothing.
    return wrong + _rough_upper(accepted, np.array(num_products)) / wish.max_false_accept


def _rough_upper(counts: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """About the upper bound of a share at 99.9%: of many steps the best one was lucky too."""
    return (counts + 3 * np.sqrt(counts + 2) + 3) / np.maximum(trials, 1)
