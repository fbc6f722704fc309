"""Held-out images: stratified, whole, and never the last one of a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.holdout import hold_out, leaked_rows, stratified_draw
from shelfmark.data.identity import identities
from shelfmark.data.table import Table


def table(paths: list[str], labels: list[int] | None = None, root: str = "/data") -> Table:
    packed = Strings.of(paths)
    chosen = np.zeros(len(paths), dtype=np.int64) if labels is None else np.array(labels, dtype=np.int64)
    return Table(packed, chosen, packed, num_classes=int(chosen.max()) + 1, root=Path(root), sha256="")


def table_of(labels: list[int]) -> Table:
    return table([f"{row}.jpg" for row in range(len(labels))], labels)


def test_leaked_rows_are_those_of_val() -> None:
    train, val = table(["a.jpg", "b.jpg", "c.jpg"]), table(["x.jpg", "c.jpg", "a.jpg", "c.jpg"])
    assert leaked_rows(train, val).tolist() == [1, 2, 3]
    assert leaked_rows(val, train).tolist() == [0, 2]


def test_an_image_leaks_however_its_path_is_written() -> None:
    train = table(["val/a.jpg", "/data/val/b.jpg", "val/./c.jpg", "val/d.jpg"])
    val = table(["a.jpg", "b.jpg", "c.jpg", "/other/d.jpg"], root="/data/val")
    assert leaked_rows(train, val).tolist() == [0, 1, 2]


def test_equal_names_under_other_roots_do_not_leak() -> None:
    leaked = leaked_rows(table(["a.jpg"], root="/one"), table(["a.jpg"], root="/two"))
    assert leaked.tolist() == []
    assert leaked.dtype == np.int64


SPELLED = st.lists(st.sampled_from(["a.jpg", "b.jpg", "./a.jpg", "/data/b.jpg", "c//d.jpg", "c/d.jpg", "é.jpg", ""]))


@settings(max_examples=60, deadline=None)
@given(SPELLED, SPELLED, st.sampled_from(["/data", "/data/c", "/"]))
def test_leaked_rows_are_those_of_a_set_of_identities(ours: list[str], theirs: list[str], root: str) -> None:
    train, val = (
        Table(Strings.of(paths), np.zeros(len(paths), np.int64), Strings.of(paths), 1, Path(at), "")
        for paths, at in ((ours, "/data"), (theirs, root))
    )
    known = set(identities(ours, train.root))
    wanted = [row for row, one in enumerate(identities(theirs, val.root)) if one in known]
    assert leaked_rows(train, val).tolist() == wanted


def test_an_even_split_holds_out_the_exact_share_of_each_class() -> None:
    kept, held = hold_out(table_of([0] * 10 + [1] * 20 + [2] * 5), fraction=0.2, seed=3)
    assert held.counts.tolist() == [2, 4, 1]
    assert kept.counts.tolist() == [8, 16, 4]
    assert sorted([*kept.paths, *held.paths]) == sorted(f"{row}.jpg" for row in range(35))


def test_the_seed_decides_and_nothing_else() -> None:
    whole = table_of([0, 1, 2] * 20)
    first, again, other = (list(hold_out(whole, seed=seed)[1].paths) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_rows_of_one_image_stay_together() -> None:
    names = [f"{number}.jpg" for number in range(10)]
    whole = table(names + [f"./{name}" for name in names], [0] * 20)
    kept, held = hold_out(whole, fraction=0.3, seed=5)
    assert len(held) == 6
    assert leaked_rows(kept, held).tolist() == []


def test_only_the_given_rows_are_held_out() -> None:
    train, val = table_of([0] * 8 + [1] * 8), table([f"{row}.jpg" for row in range(4, 12)], [0] * 4 + [1] * 4)
    rows = leaked_rows(val, train)
    kept, held = hold_out(train, rows, fraction=0.5, seed=0)
    assert held.counts.tolist() == [2, 2]
    assert set(held.paths) <= set(val.paths)
    assert leaked_rows(kept, held).tolist() == []


def test_unlabelled_images_are_never_held_out() -> None:
    _, held = hold_out(table_of([-1] * 50 + [0] * 10), fraction=0.5)
    assert held.labels.tolist() == [0] * 5


def test_what_cannot_be_held_out_is_an_error() -> None:
    with pytest.raises(UserError, match="every class has a single image"):
        hold_out(table_of([0, 1, 2]), fraction=0.9)
    with pytest.raises(UserError, match="0 candidates"):
        hold_out(table_of([0, 0, 0]), np.array([], dtype=np.int64))
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            hold_out(table_of([0, 0]), fraction=fraction)


def test_the_draw_depends_on_the_order_of_classes_and_not_on_how_large_their_numbers_are() -> None:
    labels = np.random.default_rng(0).integers(-1, 40, 3000)
    numbers = np.append(np.sort(np.random.default_rng(1).choice(3 << 16, 40, replace=False)), -1)
    assert numbers.max() >= 1 << 16
    candidates = np.random.default_rng(2).random(3000) < 0.7
    few, many = (stratified_draw(one, candidates, 0.23, seed=7) for one in (labels, numbers[labels]))
    assert few.any()
    np.testing.assert_array_equal(few, many)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    num_unlabelled=st.integers(0, 5),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_every_class_keeps_an_image_and_gives_floor_or_ceil_of_its_share(
    counts: list[int], num_unlabelled: int, fraction: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(seed).permutation(np.concatenate([labels, np.full(num_unlabelled, -1)])).astype(int)
    drawn = stratified_draw(labels, np.ones(len(labels), dtype=bool), fraction, seed)
    assert not drawn[labels < 0].any()
    for label, count in enumerate(counts):
        number = int(drawn[labels == label].sum())
        share = fraction * count
        assert number <= max(count - 1, 0)
        assert number >= min(np.floor(share + 1e-6), max(count - 1, 0)) - (abs(share - round(share)) < 1e-6)
        assert number <= np.ceil(share + 1e-6)


def test_small_classes_give_their_share_on_average() -> None:
    labels = np.repeat(np.arange(1000), 3)
    drawn = stratified_draw(labels, np.ones(3000, dtype=bool), 0.2, seed=0)
    assert abs(int(drawn.sum()) - 600) <= 1
    assert set(np.bincount(labels[drawn], minlength=1000).tolist()) == {0, 1}


def test_every_image_of_a_class_is_as_likely_as_another() -> None:
    labels = np.repeat([0, 1], [5, 15])
    total = sum(stratified_draw(labels, np.ones(20, dtype=bool), 0.2, seed).astype(int) for seed in range(1000))
    # 1000 draws at 0.2: the standard deviation of each count is 12.6.
    np.testing.assert_allclose(total, 200, atol=5 * 12.6)
