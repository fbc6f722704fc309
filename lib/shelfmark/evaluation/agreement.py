"""How far two models agree, and where they part. Legend: N images, C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shelfmark.ops.mcnemar import mcnemar_p


@dataclass(frozen=True)
class Agreement:
    """Numbers of images. same: both give the same class. p_value: McNemar's exact test of both_right and neither."""

    num_images: int
    same: int
    both_right: int
    only_first: int
    only_second: int
    neither: int

    @property
    def p_value(self) -> float:
        return mcnemar_p(self.only_first, self.only_second)


@dataclass(frozen=True)
class ChangedClass:
    """right_first, right_second: of its images, those that each model has right."""

    label: int
    num_images: int
    right_first: int
    right_second: int

    @property
    def gain(self) -> int:
        """Images won, below 0 if lost."""
        return self.right_second - self.right_first


def agreement(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Agreement:
    """first, second: (N,) the classes that two models give. labels: (N,) the true ones."""
    right_first, right_second = first == labels, second == labels
    return Agreement(
        num_images=len(labels),
        same=int((first == second).sum()),
        both_right=int((right_first & right_second).sum()),
        only_first=int((right_first & ~right_second).sum()),
        only_second=int((right_second & ~right_first).sum()),
        neither=int((~right_first & ~right_second).sum()),
    )


def changed_classes(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> list[ChangedClass]:
    """The classes of which the second model has more, or fewer, images right than the first.

    The most images won come first; of equally many the greater share of its class, then the lower class. Arguments as
    of `agreement`.
    """
    classes, inside = np.unique(labels, return_inverse=True)
    total = np.bincount(inside, minlength=len(classes))
    right = [np.bincount(inside[one == labels], minlength=len(classes)) for one in (first, second)]
    moved = np.flatnonzero(right[0] != right[1])
    found = [ChangedClass(int(classes[one]), int(total[one]), int(right[0][one]), int(right[1][one])) for one in moved]
    return sorted(found, key=lambda one: (-one.gain, one.num_images, one.label))


def better_and_worse(changed: Sequence[ChangedClass], most: int) -> tuple[list[ChangedClass], list[ChangedClass]]:
    """At most `most` classes of each side, the greatest change first."""
    better, worse = [one for one in changed if one.gain > 0], [one for one in changed if one.gain < 0]
    return better[:most], sorted(worse, key=lambda one: (one.gain, one.num_images, one.label))[:most]
