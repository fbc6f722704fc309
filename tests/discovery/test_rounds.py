"""What a round takes over from the round before: labels, numbers and names, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmark.discovery.rounds import Selection, inherited_names, kept_selection

C = 2
EARLIER = Selection(
    rows=np.array([2, 5, 7, 9, 11]),
    labels=np.array([4, 3, 1, 6, -1]),
    clusters=np.array([8, 8, 0, 1, 2]),
    density=np.array([0.9, 0.8, 0.7, 0.6, 0.1], dtype=np.float32),
    selected_in=np.array([0, 0, 1, 1, -1]),
)


def test_what_stays_selected_is_numbered_anew_and_keeps_its_names_density_and_round() -> None:
    # A review put row 5 back into the pool; row 7 is of a known class; row 5's picture cannot be read any more.
    kept, names = kept_selection(
        EARLIER, np.array([4, -1, 1, 6, -1]), {4: "tea", 3: "jam", 6: "salt"}, np.array([2, 7, 9, 11]), C
    )
    assert kept.rows.tolist() == [2, 7, 9, 11]
    assert kept.labels.tolist() == [2, 1, 3, -1]
    assert names == {2: "tea", 3: "salt"}
    assert kept.clusters.tolist() == [-1, -1, -1, -1]
    assert kept.density.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.0])
    assert kept.density.dtype == np.float32
    assert kept.selected_in.tolist() == [0, 1, 1, -1]


def test_a_round_numbers_its_new_classes_behind_those_that_stay() -> None:
    kept = Selection(
        *(np.array(column) for column in ([1, 2, 3, 4], [2, -1, -1, 1], [-1] * 4, [0.9, 0, 0, 0.8], [0] * 4))
    )
    found = kept.with_pool(3, C, labels=np.array([2, -1]), clusters=np.array([5, 6]), density=np.array([0.4, 0.2]))
    assert found.labels.tolist() == [2, 3, -1, 1]
    assert found.clusters.tolist() == [-1, 5, 6, -1]
    assert found.density.tolist() == pytest.approx([0.9, 0.4, 0.2, 0.8])
    assert found.selected_in.tolist() == [0, 3, -1, 0]
    assert kept.labels.tolist() == [2, -1, -1, 1]


def test_where_nothing_stays_the_round_s_own_labels_stand() -> None:
    first = Selection.of_nothing(np.array([3, 8]))
    assert not first.is_selected.any()
    found = first.with_pool(0, C, np.array([0, 2]), np.array([1, 0]), np.array([0.5, 0.6]))
    assert (found.labels.tolist(), found.selected_in.tolist()) == ([0, 2], [0, 0])
    assert found.is_selected.all()


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([2, 2, 2, 3, 3], {}, {2: "tea"}),  # two of three had the name
        ([2, 2, 3, 3, 3], {}, {2: "tea"}),  # one of three is not most of them
        ([2, 3, 3, 2, -1], {}, {}),  # one of two is not more than half
        ([2, 3, -1, -1, -1], {}, {2: "tea"}),  # of equal claims the first in number has it
        ([2, 2, 2, 3, 3], {2: "jam"}, {2: "jam"}),  # who has a name keeps it
        ([0, 0, 0, 3, 3], {}, {}),  # a known class inherits nothing
        ([2, 2, -1, 3, 3], {3: "tea"}, {3: "tea"}),  # a name is of one class
    ],
)
def test_a_class_inherits_the_name_of_most_of_its_images(
    labels: list[int], names: dict[int, str], expected: dict[int, str]
) -> None:
    rows, earlier = np.arange(5), np.array([7, 7, 5, 5, 5])
    # The earlier rows stand in another order, and one of them is gone.
    order = np.array([4, 0, 1, 3, 2])
    found = inherited_names(rows, np.array(labels), order, earlier[order], {7: "tea"}, names, C)
    assert found == expected
