"""What rules did to pictures, counted for the promise. Legend: N pictures.

Pictures of known products are counted one by one, but boxes by photograph: those of one photograph are right or wrong
together, by its light and its blur and as several facings of one product. For each photograph with an answer, the share
of its answers that are wrong is taken; the promise is about the mean of these shares.

Products never seen are counted by product, since pictures of one product go together: each product has the share of its
pictures that were answered, and the mean of these shares is the chance that a picture of such a product is answered, if
every product is as likely as another. Products are independent draws, where pictures are not, and a share lies in 0..1:
all that `binomial.mean_upper` needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from shelfmark.calibration.promise import bets, binomial
from shelfmark.calibration.promise.observed import Observed
from shelfmark.calibration.promise.rules import KINDS, UNKNOWN, Rules


@dataclass(frozen=True)
class Wish:
    """What is to be promised: of the answers at most max_wrong wrong, of the pictures of products never seen at most
    max_false_accept answered, both with this confidence. max_false_accept None: nothing is promised of the latter."""

    max_wrong: float
    confidence: float
    max_false_accept: float | None


@dataclass(frozen=True, eq=False)
class Photographs:
    """(G,) int64 of each photograph, by its number: the answers about its boxes, and the wrong ones among them.

    times: 2 makes p-values those that twice as many such photographs would be expected to give.
    """

    num_answers: np.ndarray
    num_wrong: np.ndarray
    times: float = 1.0

    @classmethod
    def of(cls, numbers: np.ndarray, is_wrong: np.ndarray, most: int) -> Photographs:
        """numbers: (n,) the photograph of each answer. is_wrong: (n,) bool. most: no number is larger."""
        return cls(np.bincount(numbers, minlength=most + 1), np.bincount(numbers[is_wrong], minlength=most + 1))

    def with_answers(self, more: Photographs) -> Photographs:
        """The answers of both, about the same photographs."""
        return replace(self, num_answers=self.num_answers + more.num_answers, num_wrong=self.num_wrong + more.num_wrong)

    @property
    def wrong_shares(self) -> np.ndarray:
        """(n,) the share of wrong answers of each photograph that has an answer."""
        rows = self.num_answers > 0
        return self.num_wrong[rows] / self.num_answers[rows]


@dataclass(frozen=True)
class Counted:
    """num_wrong: of the num_answers. accepted: the sum, over num_products never seen, of the share of each product's
    pictures that were answered. photographs: of boxes; None where each picture is a photograph of its own."""

    num_pictures: int
    num_answers: int
    num_wrong: int
    num_products: int = 0
    accepted: float = 0.0
    photographs: Photographs | None = field(default=None, compare=False)

    @property
    def coverage(self) -> float:
        """The share of the pictures of known products that are answered."""
        return self.num_answers / self.num_pictures if self.num_pictures else 0.0

    @property
    def false_accept(self) -> float:
        """The mean share of a never-seen product's pictures that are answered."""
        return self.accepted / self.num_products if self.num_products else 0.0

    @property
    def wrong_of_trials(self) -> tuple[float, int]:
        """Wrong answers, and answers; of boxes, the sum over photographs of the share of wrong answers, and those with
        an answer."""
        if self.photographs is None:
            return self.num_wrong, self.num_answers
        shares = self.photographs.wrong_shares
        return float(shares.sum()), len(shares)

    def wrong_at_least(self, share: float) -> float:
        """The p-value of "the true share of wrong answers is `share` or more"."""
        if self.photographs is None:
            return binomial.at_most(self.num_wrong, self.num_answers, share)
        return bets.mean_at_most(self.photographs.wrong_shares, share, self.photographs.times)

    def wrong_bounds(self, confidence: float) -> tuple[float, float]:
        """What the true share of wrong answers falls short of, and what it exceeds, each with a probability of at most
        1 - confidence; 0 and 1 without answers."""
        if self.photographs is None:
            counts = self.num_wrong, self.num_answers
            return binomial.lower(*counts, confidence), binomial.upper(*counts, confidence)
        shares = self.photographs.wrong_shares
        return bets.mean_lower(shares, confidence), bets.mean_upper(shares, confidence)

    def keeps(self, wish: Wish) -> bool:
        """Whether the counts show both promises, each at the full confidence: the rules break the promise if either
        fails, and a pass needs both tests, so one false promise passes no more often than its own test lets it."""
        level = 1 - wish.confidence
        if not self.num_answers or self.wrong_at_least(wish.max_wrong) > level:
            return False
        limit = wish.max_false_accept
        return limit is None or binomial.mean_at_most(self.accepted, self.num_products, limit) <= level

    def could_promise(self, wish: Wish) -> tuple[float, float | None]:
        """(max_wrong, max_false_accept) that these counts show at the confidence."""
        wrong = self.wrong_bounds(wish.confidence)[1]
        if wish.max_false_accept is None:
            return wrong, None
        return wrong, binomial.mean_upper(self.accepted, self.num_products, wish.confidence)

    def scaled(self, known: float, unseen: float) -> Counted:
        """An estimate: the counts of a larger set, by factors for its pictures and its products never seen."""
        return Counted(
            round(self.num_pictures * known),
            round(self.num_answers * known),
            int(np.ceil(self.num_wrong * known - 1e-9)),
            round(self.num_products * unseen),
            self.accepted * unseen,
            None if self.photographs is None else replace(self.photographs, times=known),
        )


def counted(rules: Rules, known: Observed, unseen: Observed | None) -> Counted:
    """The counts of the rules on pictures of known products, and of products never seen."""
    decided, is_right = known.answered(rules)
    answers = decided >= 0
    wrong = answers & ~is_right
    photographs = None
    if known.photographs is not None:
        photographs = Photographs.of(known.photographs[answers], wrong[answers], int(known.photographs.max(initial=0)))
    found = Counted(len(known), int(answers.sum()), int(wrong.sum()), photographs=photographs)
    if unseen is None:
        return found
    shares = product_shares(unseen.labels, unseen.answered(rules)[0] >= 0)
    return replace(found, num_products=len(shares), accepted=float(shares.sum()))


def product_shares(products: np.ndarray, is_answered: np.ndarray) -> np.ndarray:
    """(products,) the share of each product's pictures that are answered. products: (N,) int64 of each picture."""
    _, number, sizes = np.unique(products, return_inverse=True, return_counts=True)
    return np.bincount(number, weights=is_answered.astype(np.float64), minlength=len(sizes)) / sizes


def by_kind(rules: Rules, known: Observed) -> dict[str, dict[str, int]]:
    """kind -> num_answers and num_wrong, of the kinds that were answered."""
    decided, is_right = known.answered(rules)
    kinds = np.array([rule.kind for rule in rules.rules] + [UNKNOWN])[decided]
    found = {}
    for kind in KINDS[:-1]:
        rows = kinds == kind
        if rows.any():
            found[kind] = {"num_answers": int(rows.sum()), "num_wrong": int((rows & ~is_right).sum())}
    return found
