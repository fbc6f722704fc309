from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.calibration import bootstrap_intervals
from shelfmark.core.rng import numpy_generator
from shelfmark.core.score_names import CLASS_SCORES
from shelfmark.evaluation import classification
from shelfmark.evaluation.paired_scores import class_statistic, paired_scores, query_statistic
from shelfmark.ops.calibration_metrics import expected_calibration_error

COUNTS = np.array([200, 150, 60, 30, 10, 3, 0])


def answers(seed: int, num_images: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C) that are right more often than not, and labels (N,)."""
    labels = torch.arange(num_images) % (len(COUNTS) - 1)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, len(COUNTS), generator=generator, dtype=torch.float64)
    logits[torch.arange(num_images), labels] += 1.0
    return logits, labels


def statistic(logits: torch.Tensor, labels: torch.Tensor) -> object:
    found = classification.predict_from_features(logits, labels, torch.Tensor.clone, len(COUNTS))
    return class_statistic(found.places.numpy(), found.confidence.numpy(), labels.numpy(), COUNTS, 100, 20)


def plain_scores(logits: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """The same scores of the rows themselves, by the functions of summary.json."""
    found = classification.scores(logits, labels, COUNTS)
    found["ece"] = expected_calibration_error(logits.float(), labels, from_logits=True)
    return [np.nan if found[name] is None else found[name] for name in CLASS_SCORES]


def test_scores_and_paired_intervals_are_those_of_a_plain_loop_over_drawn_rows() -> None:
    models = [answers(1), answers(2)]
    labels = models[0][1]
    found = paired_scores(CLASS_SCORES, [statistic(*one) for one in models], len(labels), seed=5, resamples=60)
    generator, loop = numpy_generator(5, "bootstrap"), []
    for _ in range(60):
        rows = generator.integers(len(labels), size=len(labels))
        loop.append([plain_scores(logits[rows], labels[rows]) for logits, _ in models])
    drawn = np.array(loop)
    whole = np.array([plain_scores(*one) for one in models])
    for place, score in enumerate(found):
        np.testing.assert_allclose(score.values, whole[:, place], atol=1e-7)
        assert score.differences[0] is None
        assert score.difference_intervals[0] is None
        difference = drawn[:, 1, place] - drawn[:, 0, place]
        expected = np.nanpercentile(difference, [2.5, 97.5])
        np.testing.assert_allclose(score.difference_intervals[1], expected, atol=1e-7, err_msg=score.name)


def test_the_intervals_of_a_model_are_those_that_an_evaluation_writes() -> None:
    logits, labels = answers(3)
    found = paired_scores(CLASS_SCORES, [statistic(logits, labels)] * 2, len(labels), seed=7)
    expected = bootstrap_intervals(logits.argmax(dim=1) == labels, labels, len(COUNTS), COUNTS, seed=7)
    by_name = {one.name: one for one in found}
    for name, interval in expected.items():
        assert by_name[name].intervals[0] == pytest.approx(interval)
        # A model beside itself never differs, on whatever images.
        assert by_name[name].difference_intervals[1] == (0.0, 0.0)
        assert by_name[name].verdict(1) == "equal"


def test_a_planted_difference_is_covered_as_often_as_promised_and_more_closely_than_without_pairs() -> None:
    generator = np.random.default_rng(0)
    num_images, truth, covered, paired_width, apart_width = 150, 0.08, 0, 0.0, 0.0
    for trial in range(200):
        hardness = generator.random(num_images)
        # Both models fail on the hard images; the second has a band of `truth` more.
        first, second = hardness < 0.6, hardness < 0.6 + truth
        statistics = [query_statistic(one[:, None]) for one in (first, second)]
        [score] = paired_scores(["recall@1"], statistics, num_images, seed=trial, resamples=200)
        low, high = score.difference_intervals[1]
        covered += low <= truth <= high
        paired_width += high - low
        apart_width += sum(interval[1] - interval[0] for interval in score.intervals)
    assert 0.90 <= covered / 200 <= 0.99
    assert paired_width < 0.5 * apart_width


def test_less_is_better_of_an_error() -> None:
    right, wrong = np.zeros(50, np.int64), np.full(50, 1)
    labels, sure = np.arange(50) % 2, np.full(50, 0.9)
    statistics = [class_statistic(places, sure, labels, None, 100, 20) for places in (wrong, right)]
    by_name = {one.name: one for one in paired_scores(CLASS_SCORES, statistics, 50, resamples=20)}
    assert by_name["mean_class_error"].differences[1] == -1
    assert by_name["ece"].differences[1] == pytest.approx(-0.8)
    assert {by_name[name].verdict(1) for name in ("top1", "mean_class_error", "ece")} == {"better"}
    # The places are within the first five in both; and no group is known without counts.
    assert by_name["top5"].verdict(1) == "equal"
    assert by_name["few"].values == (None, None)
    assert by_name["few"].verdict(1) == "unclear"


def test_nothing_to_score_has_no_values() -> None:
    nothing = np.zeros(0, np.int64)
    statistics = [class_statistic(nothing, np.zeros(0), nothing, None, 100, 20)] * 2
    for one in paired_scores(CLASS_SCORES, statistics, 0):
        assert one.values == (None, None)
        assert one.difference_intervals == (None, None)
