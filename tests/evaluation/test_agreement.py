from __future__ import annotations

import numpy as np
import pytest

from shelfmark.evaluation.agreement import agreement, better_and_worse, changed_classes

#                 class 0      class 1   class 2   class 3
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
FIRST = np.array([0, 0, 1, 1, 1, 1, 0, 0, 2, 2])
SECOND = np.array([0, 0, 0, 0, 0, 1, 1, 0, 2, 3])


def test_images_fall_into_four_parts_and_the_same_answer_may_be_wrong() -> None:
    found = agreement(FIRST, SECOND, LABELS)
    assert (found.both_right, found.only_first, found.only_second, found.neither) == (4, 1, 3, 2)
    assert found.same == 5  # four that are right, and one of class 2 that both take for 0
    assert found.p_value == pytest.approx(2 * (1 + 4) / 2**4)
    assert found.num_images == len(LABELS)


def test_classes_come_by_images_won_and_then_by_their_share() -> None:
    changed = changed_classes(FIRST, SECOND, LABELS)
    assert [(one.label, one.num_images, one.right_first, one.right_second) for one in changed] == [
        (0, 4, 2, 4),
        (3, 1, 0, 1),
        (1, 2, 2, 1),
    ]
    better, worse = better_and_worse(changed, most=1)
    assert [one.label for one in better] == [0]
    assert [one.label for one in worse] == [1]
    back = changed_classes(SECOND, FIRST, LABELS)
    assert [one.label for one in better_and_worse(back, most=9)[1]] == [0, 3]


def test_what_is_alike_has_no_changed_class() -> None:
    assert changed_classes(FIRST, FIRST, LABELS) == []
    assert agreement(FIRST, FIRST, LABELS).p_value == 1.0
