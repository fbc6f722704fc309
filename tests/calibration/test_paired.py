"""Gains between methods over several runs, and their intervals."""

from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch

from shelfmark.calibration import bootstrap_intervals, paired_gains, paired_intervals

COUNTS = [300, 150, 50, 40, 5, 3]


def _case(num_runs: int = 3, num_images: int = 90) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """hits (runs, N), baseline (runs, N), labels (N,): a baseline is right where the other is, but less often."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(num_images, generator=generator).pow(2) * 6).long()
    ease = torch.rand(num_images, generator=generator)
    noise = [0.3 * torch.rand(num_runs, num_images, generator=generator) for _ in range(2)]
    return ease + noise[0] > 0.5, ease + noise[1] > 0.6, labels


def test_gains_of_a_case_worked_by_hand() -> None:
    # Class 0 has three images, class 1 has one, class 2 none.
    labels = torch.tensor([0, 0, 0, 1])
    hits = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    baseline = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 1]]).bool()
    # Run 1: class 0 gains 2/3, class 1 nothing: 1/3. Run 2: nothing, and class 1 loses 1: -1/2.
    gains = paired_gains(hits, baseline, labels, 3, counts=[200, 10, 50])
    assert gains["mean_class_accuracy"] == pytest.approx((1 / 3 - 1 / 2) / 2)
    assert gains["many"] == pytest.approx(1 / 3)
    assert gains["few"] == pytest.approx(-1 / 2)
    assert gains["medium"] is None


def test_an_interval_of_a_case_worked_by_hand() -> None:
    # Two images of two classes, gains 1 and 0. Of the four draws one has the first image alone, one the second.
    hits, nothing = torch.tensor([[True, False]]), torch.zeros(1, 2).bool()
    found = paired_intervals(hits, nothing, torch.tensor([0, 1]), 2, level=0.4, resamples=4000)
    assert found["mean_class_accuracy"] == (0.5, 0.5)
    assert paired_intervals(hits, nothing, torch.tensor([0, 1]), 2)["mean_class_accuracy"] == (0, 1)


def test_the_intervals_are_those_of_a_plain_bootstrap_with_other_draws() -> None:
    hits, baseline, labels = _case()
    resampled = oracles.resampled_gains(hits.tolist(), baseline.tolist(), labels.tolist(), 1500, seed=1)
    for level in (0.95, 0.5):
        found = paired_intervals(hits, baseline, labels, 6, COUNTS, resamples=3000, level=level)
        expected = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
        np.testing.assert_allclose(found["mean_class_accuracy"], expected, atol=0.012)


def test_the_groups_are_the_classes_of_that_many_training_images() -> None:
    hits, baseline, labels = _case()
    found = paired_intervals(hits, baseline, labels, 6, COUNTS)
    gains = paired_gains(hits, baseline, labels, 6, COUNTS)
    for name, inside in (("many", labels < 2), ("medium", (labels == 2) | (labels == 3)), ("few", labels > 3)):
        alone = paired_gains(hits[:, inside], baseline[:, inside], labels[inside], 6)
        assert gains[name] == pytest.approx(alone["mean_class_accuracy"])
        assert found[name][0] <= gains[name] <= found[name][1]


def test_of_one_run_without_a_baseline_it_is_the_interval_of_the_score() -> None:
    hits, _, labels = _case(num_runs=1, num_images=400)
    paired = paired_intervals(hits, None, labels, 6, COUNTS, resamples=4000)
    plain = bootstrap_intervals(hits[0], labels, 6, COUNTS, resamples=4000)
    for name, interval in paired.items():
        assert interval == pytest.approx(plain[name], abs=0.012), name


def test_a_method_gains_exactly_nothing_over_itself() -> None:
    hits, _, labels = _case()
    assert set(paired_intervals(hits, hits, labels, 6, COUNTS).values()) == {(0, 0)}


def test_pairing_by_image_makes_the_interval_narrower_than_pairing_by_nothing() -> None:
    hits, baseline, labels = _case(num_images=400)
    paired, shuffled = (
        paired_intervals(hits, other, labels, 6)["mean_class_accuracy"]
        for other in (baseline, _shuffled_in_classes(baseline, labels))
    )
    assert paired[1] - paired[0] < 0.8 * (shuffled[1] - shuffled[0])


def test_changing_sides_changes_the_sign() -> None:
    hits, baseline, labels = _case()
    forth, back = paired_intervals(hits, baseline, labels, 6), paired_intervals(baseline, hits, labels, 6)
    low, high = forth["mean_class_accuracy"]
    assert back["mean_class_accuracy"] == pytest.approx((-high, -low))


def test_runs_in_another_order_change_nothing_and_another_seed_does() -> None:
    hits, baseline, labels = _case()
    first, turned, other = (
        paired_intervals(hits[order], baseline[order], labels, 6, resamples=200, seed=seed)["mean_class_accuracy"]
        for order, seed in ((slice(None), 1), ([2, 0, 1], 1), (slice(None), 2))
    )
    assert first == pytest.approx(turned)
    assert first != other


def test_without_images_there_is_no_interval() -> None:
    nothing = torch.zeros(2, 0).bool()
    found = paired_intervals(nothing, nothing, torch.zeros(0).long(), 3)
    assert found == dict.fromkeys(("mean_class_accuracy", "many", "medium", "few"))


def test_bad_input_is_refused_with_its_reason() -> None:
    hits, baseline, labels = _case()
    for wrong in (hits[:, :3], hits[:2], hits[0], hits[:0]):
        with pytest.raises(ValueError, match="must both be"):
            paired_intervals(wrong, baseline, labels, 6)
    with pytest.raises(ValueError, match="resamples=0"):
        paired_intervals(hits, baseline, labels, 6, resamples=0)
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match=f"level={level}"):
            paired_intervals(hits, baseline, labels, 6, level=level)


def _shuffled_in_classes(hits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same class accuracies, on other images."""
    moved = hits.clone()
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        moved[:, rows] = hits[:, rows.roll(len(rows) // 2)]
    return moved
