"""What rules did to pictures, counted for the promise. Legend: N pictures.

Pictures of known products are counted one by one. Products never seen are counted by product, since pictures of one
product go together: each product has the share of its pictures that were answered, and the mean of these shares is the
chance that a picture of such a product is answered, if every product is as likely as another. Products are independent
draws, where pictures are not, and a share lies in 0..1: all that `binomial.mean_upper` needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.calibration.promise import binomial
from shelfmark.calibration.promise.observed import Observed
from shelfmark.calibration.promise.rules import KINDS, UNKNOWN, Rules


@dataclass(frozen=True)
class Wish:
    """What is to be promised: of the answers at most max_wrong wrong, of the pictures of products never seen at most
    max_false_accept answered, both with this confidence. max_false_accept None: nothing is promised of the latter."""

    max_wrong: float
    confidence: float
    max_false_accept: float | None


@dataclass(frozen=True)
class Counted:
    """num_wrong: of the num_answers. accepted: the sum, over num_products never seen, of the share of each product's
    pictures that were answered."""

    num_pictures: int
    num_answers: int
    num_wrong: int
    num_products: int = 0
    accepted: float = 0.0

    @property
    def coverage(self) -> float:
        """The share of the pictures of known products that are answered."""
        return self.num_answers / self.num_pictures if self.num_pictures else 0.0

    @property
    def false_accept(self) -> float:
        """The mean share of a never-seen product's pictures that are answered."""
        return self.accepted / self.num_products if self.num_products else 0.0

    def keeps(self, wish: Wish) -> bool:
        """Whether the counts show both promises, each at the full confidence: the rules break the promise if either
        fails, and a pass needs both tests, so one false promise passes no more often than its own test lets it."""
        level = 1 - wish.confidence
        if not self.num_answers or binomial.at_most(self.num_wrong, self.num_answers, wish.max_wrong) > level:
            return False
        limit = wish.max_false_accept
        return limit is None or binomial.mean_at_most(self.accepted, self.num_products, limit) <= level

    def could_promise(self, wish: Wish) -> tuple[float, float | None]:
        """(max_wrong, max_false_accept) that these counts show at the confidence."""
        wrong = binomial.upper(self.num_wrong, self.num_answers, wish.confidence) if self.num_answers else 1.0
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
        )


def counted(rules: Rules, known: Observed, unseen: Observed | None) -> Counted:
    """The counts of the rules on pictures of known products, and of products never seen."""
    decided, is_right = known.answered(rules)
    answers = decided >= 0
    if unseen is None:
        return Counted(len(known), int(answers.sum()), int((answers & ~is_right).sum()))
    shares = product_shares(unseen.labels, unseen.answered(rules)[0] >= 0)
    return Counted(len(known), int(answers.sum()), int((answers & ~is_right).sum()), len(shares), float(shares.sum()))


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
