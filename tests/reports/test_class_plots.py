from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import has_color, pixels

from shelfmark.reports.class_plots import accuracy_by_frequency, binned_means, weight_norms

BLUE, GREY = "#2b6cb0", "#9aa1ab"


def test_classes_alike_in_number_share_a_bin() -> None:
    # Five bins a decade: 9 and 10 are within a tenth of a decade of 10, 100 stands alone, 0 has a bin of its own.
    means = binned_means(np.array([10, 0, 9, 100, 0]), np.array([0.2, 0.0, 0.6, 0.9, 0.5]))
    np.testing.assert_allclose(means.place, [0, 90**0.5, 100])
    np.testing.assert_allclose(means.mean, [0.25, 0.4, 0.9])


def test_an_interval_is_1_96_standard_errors_to_either_side() -> None:
    values = np.array([0.1, 0.4, 0.5, 0.5, 0.6, 0.9])
    means = binned_means(np.full(6, 30), values)
    half = 1.96 * np.sqrt(((values - 0.5) ** 2).sum() / 5 / 6)
    np.testing.assert_allclose([means.low[0], means.high[0]], [0.5 - half, 0.5 + half])


def test_an_interval_stays_within_the_values_and_one_class_has_none() -> None:
    means = binned_means(np.array([7, 7, 50]), np.array([0.0, 1.0, 0.3]))
    np.testing.assert_array_equal([means.low, means.high], [[0, np.nan], [1, np.nan]])


def test_the_order_of_the_classes_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    counts, values = generator.integers(0, 500, 60), generator.random(60)
    order = generator.permutation(60)
    ours, theirs = binned_means(counts, values), binned_means(counts[order], values[order])
    for name in ("place", "mean", "low", "high"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize(
    ("counts", "accuracy"),
    [
        ([500, 120, 60, 19, 3, 0], [1.0, 0.8, np.nan, 0.3, 0.1, 0.0]),
        ([7, 7, 7], [0.5, 0.0, 1.0]),
        ([0, 0], [0.5, 0.0]),
        ([5], [0.5]),
    ],
)
def test_accuracies_of_any_counts_are_drawn(tmp_path: Path, counts: list[int], accuracy: list[float]) -> None:
    accuracy_by_frequency(np.array(counts), np.array(accuracy), tmp_path / "accuracy.png")
    assert pixels(tmp_path / "accuracy.png").shape == (520, 900, 3)
    assert has_color(tmp_path / "accuracy.png", BLUE)


def test_a_set_without_a_scored_class_is_an_empty_plot(tmp_path: Path) -> None:
    accuracy_by_frequency(np.array([5, 6]), np.full(2, np.nan), tmp_path / "accuracy.png")
    assert not has_color(tmp_path / "accuracy.png", BLUE)


def test_the_limits_of_the_groups_are_marked_where_classes_lie_on_both_sides(tmp_path: Path) -> None:
    accuracy = np.array([0.1, 0.5, 0.9])
    for name, few in (("with", 20), ("without", 5)):
        accuracy_by_frequency(np.array([5, 50, 90]), accuracy, tmp_path / f"{name}.png", many=200, few=few)
    # The only ink as dark and as high as this is the dotted line's. No class has fewer than 5 images.
    dark = {
        name: (pixels(tmp_path / f"{name}.png")[60:460].sum(axis=2) < 250).sum(axis=0) for name in ("with", "without")
    }
    assert dark["with"].max() > 100
    assert dark["without"].max() < 60


def test_the_weights_after_a_recalibration_stand_before_those_it_came_from(tmp_path: Path) -> None:
    counts, norms = np.array([300, 40, 2]), {"before": np.array([2.0, 1.0, 0.5]), "after": np.ones(3)}
    weight_norms(counts, norms, tmp_path / "both.png")
    weight_norms(counts, {"classifier": np.ones(3)}, tmp_path / "one.png")
    assert has_color(tmp_path / "both.png", BLUE)
    assert has_color(tmp_path / "both.png", GREY)
    # The frame at the left and below is grey too: look within it.
    within = pixels(tmp_path / "one.png")[40:460, 80:890]
    assert not (np.abs(within - [0x9A, 0xA1, 0xAB]).sum(axis=2) < 12).any()
