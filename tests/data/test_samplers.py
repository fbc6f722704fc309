"""The order of an epoch, for every sampler, and its division over processes and resumes."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from from_options import build_order
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from shelfmark.core.errors import UserError
from shelfmark.data.samplers import SAMPLERS, Draw, EpochOrder, rank_batches
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.shuffle import shuffled_within

# Class 2 is empty, class 4 has one image; 3 rows have no label.
LABELS = np.random.default_rng(0).permutation(np.repeat([-1, 0, 1, 3, 4, 5, 6], [3, 40, 20, 9, 1, 4, 3]))
NUM_CLASSES = 8
NUM_LABELLED = 77


def order(name: str, batch_size: int = 8, seed: int = 0, **options: object) -> EpochOrder:
    return build_order(name, LABELS, NUM_CLASSES, batch_size, seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SAMPLERS)
class TestEverySampler:
    def test_an_epoch_has_as_many_whole_batches_as_there_are_labelled_images(self, name: str) -> None:
        batches = order(name)
        assert batches.num_batches == NUM_LABELLED // 8 == 9
        assert batches.rows(0).shape == (9, 8)
        assert batches.rows(0).dtype == np.int64

    def test_the_number_of_steps_can_be_given(self, name: str) -> None:
        for steps in (1, 40):
            batches = order(name, steps_per_epoch=steps)
            assert batches.num_batches == steps
            assert batches.rows(3).shape == (steps, 8)

    def test_rows_without_a_label_are_never_drawn(self, name: str) -> None:
        rows = order(name, steps_per_epoch=60).rows(0)
        assert rows.min() >= 0
        assert (LABELS[rows] >= 0).all()

    def test_the_order_is_a_function_of_seed_and_epoch_alone(self, name: str) -> None:
        first = order(name)
        expected = first.rows(3)
        first.rows(4)
        np.testing.assert_array_equal(first.rows(3), expected)
        np.testing.assert_array_equal(order(name).rows(3), expected)
        assert not np.array_equal(first.rows(4), expected)
        assert not np.array_equal(order(name, seed=1).rows(3), expected)

    def test_processes_share_each_batch_and_leave_nothing_out(self, name: str) -> None:
        whole = list(rank_batches(order(name), 2))
        shares = [list(rank_batches(order(name), 2, rank=rank, world_size=4)) for rank in range(4)]
        assert [len(share) for share in shares] == [len(whole)] * 4
        for step, batch in enumerate(whole):
            assert [draw for share in shares for draw in share[step]] == batch

    def test_a_resumed_epoch_continues_with_the_next_batch(self, name: str) -> None:
        batches = order(name, steps_per_epoch=20)
        whole = list(rank_batches(batches, 1, rank=1, world_size=2))
        for done in (1, 7, 20):
            assert list(rank_batches(batches, 1, start_step=done, rank=1, world_size=2)) == whole[done:]

    def test_each_draw_of_a_row_in_an_epoch_has_its_own_number(self, name: str) -> None:
        draws = [draw for batch in rank_batches(order(name, steps_per_epoch=30), 5) for draw in batch]
        met: Counter[int] = Counter()
        for draw in draws:
            assert draw == Draw(draw.row, 5, met[draw.row])
            met[draw.row] += 1
        assert max(met.values()) > 1

    def test_one_class_alone_can_be_trained_on(self, name: str) -> None:
        batches = build_order(name, np.zeros(9, dtype=np.int64), 1, 4, 0)
        assert batches.rows(0).shape == (2, 4)


def test_a_training_set_of_no_labels_or_of_less_than_a_batch_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.batch_size=80 .* 77 labelled images; take at most 77"):
        order("instance", batch_size=80)
    for labels in (np.full(5, -1), np.zeros(0, dtype=np.int64)):
        with pytest.raises(UserError, match="no labelled image"):
            build_order("instance", labels, 3, 4, 0)


def test_a_label_outside_the_classes_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="label 7 must be below num_classes=7"):
        build_order("instance", np.array([7, 1]), 7, 1, 0)


# instance


def test_instance_draws_no_image_twice_and_leaves_out_less_than_a_batch() -> None:
    rows = order("instance").rows(0).ravel()
    assert len(np.unique(rows)) == len(rows) == 72


def test_instance_leaves_out_other_images_in_each_epoch() -> None:
    seen = np.unique([order("instance").rows(epoch) for epoch in range(6)])
    assert len(seen) == NUM_LABELLED


def test_a_long_instance_epoch_goes_round_again() -> None:
    counts = np.bincount(order("instance", steps_per_epoch=20).rows(0).ravel(), minlength=len(LABELS))
    # 160 draws of 77 images: two passes and 6 more.
    assert sorted(np.bincount(counts[LABELS >= 0]).tolist()) == [0, 0, 6, 71]


# class_balanced and reverse


@pytest.mark.parametrize(("name", "power"), [("class_balanced", 0), ("reverse", -1)])
def test_classes_are_drawn_with_their_probability(name: str, power: int) -> None:
    counts = np.bincount(LABELS[LABELS >= 0], minlength=NUM_CLASSES)
    present = counts > 0
    weights = counts[present] ** float(power)
    drawn = np.bincount(LABELS[order(name, steps_per_epoch=125_000).rows(0).ravel()], minlength=NUM_CLASSES)
    assert drawn[~present].sum() == 0
    assert drawn.sum() == 10**6
    assert chisquare(drawn[present], 10**6 * weights / weights.sum()).pvalue > 1e-3


def test_successive_draws_are_of_independent_classes() -> None:
    classes = LABELS[order("class_balanced", steps_per_epoch=12_500).rows(0).ravel()]
    _, codes = np.unique(classes, return_inverse=True)
    pairs = np.bincount(codes[:-1] * 6 + codes[1:], minlength=36).reshape(6, 6)
    assert chi2_contingency(pairs).pvalue > 1e-3


def test_every_image_of_a_class_is_as_likely() -> None:
    rows = np.concatenate([order("class_balanced", seed=seed).rows(0).ravel() for seed in range(400)])
    of_largest = np.bincount(rows, minlength=len(LABELS))[LABELS == 0]
    assert chisquare(of_largest).pvalue > 1e-3


@pytest.mark.parametrize(("name", "steps"), [("class_balanced", 3), ("reverse", 9), ("class_balanced", 50)])
def test_the_draws_of_a_class_are_spread_evenly_over_its_images(name: str, steps: int) -> None:
    counts = np.bincount(order(name, steps_per_epoch=steps).rows(0).ravel(), minlength=len(LABELS))
    for label in np.unique(LABELS[LABELS >= 0]):
        assert np.ptp(counts[np.equal(LABELS, label)]) <= 1


# power, progressive and class_aware


@pytest.mark.parametrize("power", [0.5, 1.5])
def test_power_draws_a_class_by_a_power_of_its_size(power: float) -> None:
    counts = np.bincount(LABELS[LABELS >= 0], minlength=NUM_CLASSES)
    present = counts > 0
    weights = counts[present] ** power
    rows = order("power", steps_per_epoch=12_500, power=power).rows(0)
    drawn = np.bincount(LABELS[rows.ravel()], minlength=NUM_CLASSES)
    assert chisquare(drawn[present], 10**5 * weights / weights.sum()).pvalue > 1e-3


def test_progressive_goes_from_images_to_classes_over_the_epochs() -> None:
    counts = np.bincount(LABELS[LABELS >= 0], minlength=NUM_CLASSES)
    present = counts > 0
    by_image, by_class = counts[present] / counts.sum(), 1 / present.sum()
    batches = order("progressive", steps_per_epoch=12_500, num_epochs=5)
    # The epochs beyond the last, if a run is prolonged, stay class-balanced.
    for epoch, progress in ((0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (9, 1.0)):
        drawn = np.bincount(LABELS[batches.rows(epoch).ravel()], minlength=NUM_CLASSES)[present]
        expected = (1 - progress) * by_image + progress * by_class
        assert chisquare(drawn, 10**5 * expected).pvalue > 1e-3


def test_class_aware_meets_every_class_once_a_cycle_with_its_images_in_a_row() -> None:
    classes = LABELS[order("class_aware", batch_size=6, steps_per_epoch=80, images_per_class=2).rows(0).ravel()]
    visits = classes.reshape(-1, 2)
    assert (visits[:, 0] == visits[:, 1]).all()
    cycles = visits[:, 0].reshape(-1, 6)
    assert (np.sort(cycles, axis=1) == [0, 1, 3, 4, 5, 6]).all()
    assert len(np.unique(cycles, axis=0)) > 20


def test_class_aware_deals_the_images_of_a_class_evenly() -> None:
    counts = np.bincount(order("class_aware", steps_per_epoch=60).rows(0).ravel(), minlength=len(LABELS))
    for label in (0, 1, 5):
        assert np.ptp(counts[np.equal(LABELS, label)]) <= 1


# pk


def test_every_pk_batch_has_p_distinct_classes_with_k_images_each() -> None:
    for batch in LABELS[order("pk", steps_per_epoch=200).rows(0)]:
        assert len(set(batch[::4])) == 2
        np.testing.assert_array_equal(batch, np.repeat(batch[::4], 4))


def test_the_images_of_a_class_in_a_pk_batch_are_distinct_while_it_has_them() -> None:
    sizes = np.bincount(LABELS[LABELS >= 0], minlength=NUM_CLASSES)
    for visit in order("pk", steps_per_epoch=200).rows(0).reshape(-1, 4):
        assert len(set(visit.tolist())) == min(4, sizes[LABELS[visit[0]]])


def test_pk_meets_every_class_about_equally_often_and_beside_changing_classes() -> None:
    batches = LABELS[order("pk", batch_size=8, steps_per_epoch=300).rows(0)][:, ::4]
    met = np.bincount(batches.ravel(), minlength=NUM_CLASSES)[[0, 1, 3, 5, 6]]
    # 5 classes, 2 a batch: each cycle of 2 batches drops one class at random.
    assert met.sum() == 600
    assert np.ptp(met) < 40
    assert len({frozenset(pair) for pair in batches.tolist()}) == 10


def test_pk_shows_every_image_of_a_class_before_one_comes_again() -> None:
    labels = np.repeat(np.arange(4), 12)
    counts = np.bincount(build_order("pk", labels, 4, 8, 0, steps_per_epoch=6).rows(0).ravel(), minlength=48)
    # 6 batches of 2 classes are 3 cycles of all 4 classes: 3 visits of 4 images each are all 12.
    assert (counts == 1).all()


def test_pk_leaves_out_classes_of_one_image_while_enough_others_are_there() -> None:
    assert order("pk").classes.tolist() == [0, 1, 3, 5, 6]  # type: ignore[attr-defined]
    assert order("pk", batch_size=24).classes.tolist() == [0, 1, 3, 4, 5, 6]  # type: ignore[attr-defined]
    assert order("pk", images_per_class=1, batch_size=2).classes.tolist() == [0, 1, 3, 4, 5, 6]  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=3, max_size=12),
    num_batches=st.integers(1, 30),
    classes_per_batch=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_pk_by_count_meets_classes_in_proportion_and_none_twice_in_a_batch(
    counts: list[int], num_batches: int, classes_per_batch: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    found = build_order(
        "pk",
        labels,
        len(counts),
        2 * classes_per_batch,
        seed,
        images_per_class=2,
        steps_per_epoch=num_batches,
        class_weighting="by_count",
    )
    batches = labels[found.rows(0)][:, ::2]
    assert batches.shape == (num_batches, classes_per_batch)
    assert all(len(set(batch)) == classes_per_batch for batch in batches.tolist())
    met = np.bincount(batches.ravel(), minlength=len(counts))
    share = np.array(counts) * num_batches * classes_per_batch / sum(counts)
    if share.max() <= num_batches:
        assert (np.abs(met - share) < 1).all()
    else:
        # No class can stand in more batches than there are; the others share what it leaves.
        assert met[share > num_batches].tolist() == [num_batches] * int((share > num_batches).sum())
        assert (met >= np.floor(share) - (share > num_batches) * share).all()


def test_pk_by_count_shows_each_image_about_once_an_epoch_beside_other_classes() -> None:
    # 24 classes of 4 to 48 images; an epoch is as long as a pass over all of them.
    sizes = np.repeat([4, 8, 16, 48], 6)
    labels = np.repeat(np.arange(24), sizes)
    found = build_order("pk", labels, 24, 32, 0, class_weighting="by_count")
    for epoch in range(3):
        rows = found.rows(epoch)
        assert np.bincount(rows.ravel(), minlength=len(labels)).max() <= 2
        met = np.bincount(labels[rows][:, ::4].ravel(), minlength=24)
        assert (np.abs(met - sizes / 4 * rows.size / len(labels)) < 1).all()
    batches_of_classes = [
        frozenset(batch) for epoch in range(40) for batch in labels[found.rows(epoch)][:, ::4].tolist()
    ]
    assert len(set(batches_of_classes)) > 0.8 * len(batches_of_classes)
    pairs = {pair for classes in batches_of_classes for pair in combinations(sorted(classes), 2)}
    assert min(np.bincount(np.ravel([*pairs]))) > 20


def test_pk_by_count_rounds_its_shares_fairly() -> None:
    sizes = np.array([3, 5, 7, 9, 16])
    labels = np.repeat(np.arange(5), sizes)
    found = build_order("pk", labels, 5, 4, 1, images_per_class=2, steps_per_epoch=5, class_weighting="by_count")
    met = np.mean([np.bincount(labels[found.rows(epoch)][:, ::2].ravel(), minlength=5) for epoch in range(400)], axis=0)
    np.testing.assert_allclose(met, 10 * sizes / 40, atol=0.12)


def test_pk_says_which_numbers_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"images_per_class=3 does not divide train.batch_size=8"):
        order("pk", images_per_class=3)
    with pytest.raises(UserError, match=r"= 8 classes in a batch, but only 6 .* at most 24"):
        order("pk", batch_size=32)


# stages


def test_the_last_stage_that_has_begun_rules_wherever_a_run_resumes() -> None:
    staged = order("instance", stages=[(2, "class_balanced"), (5, "pk")])
    for epoch, name in [(0, "instance"), (1, "instance"), (2, "class_balanced"), (4, "class_balanced"), (9, "pk")]:
        np.testing.assert_array_equal(staged.rows(epoch), order(name).rows(epoch))
        resumed = order("instance", stages=[(2, "class_balanced"), (5, "pk")])
        np.testing.assert_array_equal(resumed.rows(epoch), staged.rows(epoch))
    assert staged.num_batches == 9


def test_a_stage_that_cannot_be_built_is_found_at_the_start() -> None:
    with pytest.raises(UserError, match="images_per_class=3"):
        order("instance", images_per_class=3, stages=[(30, "pk")])


# processes


def test_a_batch_that_does_not_divide_by_the_processes_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.batch_size=8 .* over 3 processes; take 6 or 9"):
        next(rank_batches(order("instance"), 0, rank=0, world_size=3))


def test_impossible_ranks_and_steps_are_our_mistake() -> None:
    with pytest.raises(ValueError, match="rank=2"):
        next(rank_batches(order("instance"), 0, rank=2, world_size=2))
    with pytest.raises(ValueError, match=r"start_step=10 must lie in 0..9"):
        next(rank_batches(order("instance"), 0, start_step=10))


# the parts


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 5), max_size=40))
def test_groups_list_each_class(labels: list[int]) -> None:
    groups = Groups.of(np.array(labels, dtype=np.int64), 6)
    for label in range(6):
        assert groups.of_class(label).tolist() == [row for row, other in enumerate(labels) if other == label]
    assert len(groups) == sum(label >= 0 for label in labels)
    np.testing.assert_array_equal(np.array(labels)[groups.rows], groups.classes)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=10), st.integers(0, 99))
def test_shuffling_keeps_every_segment_in_its_place(sizes: list[int], seed: int) -> None:
    segments = np.repeat(np.arange(len(sizes)), sizes)
    shuffled = shuffled_within(segments, np.random.default_rng(seed))
    np.testing.assert_array_equal(segments[shuffled], segments)
    np.testing.assert_array_equal(np.sort(shuffled), np.arange(len(segments)))


def test_every_permutation_of_a_segment_is_as_likely() -> None:
    generator = np.random.default_rng(0)
    shuffled = shuffled_within(np.repeat(np.arange(6000), 4), generator).reshape(-1, 4) % 4
    assert chisquare(list(Counter(map(tuple, shuffled.tolist())).values())).pvalue > 1e-3
    assert len({tuple(row) for row in shuffled.tolist()}) == 24
