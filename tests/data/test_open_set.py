"""Classes that are kept out of training are whole groups, and no image of them is learned or scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.open_set import open_set_classes, tell_open_set, without_classes
from shelfmark.data.table import Table

SIZES = (4, 4, 3, 3, 2, 2, 1, 1)
"""Classes of each of eight groups: 20 in all."""


@pytest.fixture
def table() -> Table:
    groups = [f"family {number}" for number, size in enumerate(SIZES) for _ in range(size)]
    labels = np.tile(np.arange(20), 3)
    paths = Strings.of(f"{row}.jpg" for row in range(60))
    return Table(paths, labels, paths, 20, Path("/"), "", tuple(f"class {one}" for one in range(20)), tuple(groups))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_whole_groups_are_kept_out_and_no_more_classes_than_the_share(table: Table, share: float, seed: int) -> None:
    held = open_set_classes(table, share, seed)
    assert table.groups is not None
    groups = np.array(table.groups)
    assert set(np.flatnonzero(np.isin(groups, groups[held]))) == set(held.tolist())
    assert 1 <= len(held) <= share * 20
    assert held.tolist() == open_set_classes(table, share, seed).tolist()


def test_other_seeds_keep_other_groups_out(table: Table) -> None:
    assert len({tuple(open_set_classes(table, 0.2, seed).tolist()) for seed in range(8)}) > 4


def test_where_every_group_is_larger_than_the_share_the_smallest_is_kept_out(table: Table) -> None:
    few = table.take(table.labels < 8)
    assert open_set_classes(few, 0.05, 0).tolist() in ([0, 1, 2, 3], [4, 5, 6, 7])


def test_without_groups_single_classes_are_kept_out_and_it_is_said(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    nameless = replace(table, groups=None)
    held = open_set_classes(nameless, 0.1, 0)
    assert len(held) == 2
    with caplog.at_level("INFO"):
        tell_open_set(nameless, held)
    assert "2 classes with 6 images are kept out" in caplog.text
    assert "no `groups`, so single classes are kept out" in caplog.text


def test_one_group_alone_is_refused(table: Table) -> None:
    with pytest.raises(UserError, match="there is one group alone"):
        open_set_classes(table.take(table.labels < 4), 0.2, 0)


def test_the_classes_keep_their_numbers(table: Table) -> None:
    left = without_classes(table, np.array([3, 5]))
    assert set(left.labels.tolist()) == set(range(20)) - {3, 5}
    assert left.num_classes == 20
    assert without_classes(table, np.empty(0, np.int64)) is table
