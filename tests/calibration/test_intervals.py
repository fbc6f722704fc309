from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch

from shelfmark.calibration import bootstrap_intervals


def _case(num_images: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(num_images, generator=generator).pow(2) * 6).long()
    return torch.rand(num_images, generator=generator) < 0.4 + labels / 10, labels


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_the_intervals_are_those_of_a_plain_bootstrap_with_other_draws(level: float) -> None:
    hits, labels = _case()
    found = bootstrap_intervals(hits, labels, 6, resamples=3000, level=level)
    resampled = oracles.resampled_scores(hits.tolist(), labels.tolist(), 1500, seed=1)
    for column, name in enumerate(("top1", "mean_class_accuracy")):
        expected = np.quantile(resampled[:, column], [(1 - level) / 2, (1 + level) / 2])
        np.testing.assert_allclose(found[name], expected, atol=0.015)


def test_the_interval_of_top1_is_the_binomial_s() -> None:
    hits = torch.arange(1000) < 800
    low, high = bootstrap_intervals(hits, torch.arange(1000) % 3, 3)["top1"]
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert (low, high) == (pytest.approx(0.8 - half, abs=0.003), pytest.approx(0.8 + half, abs=0.003))


def test_a_class_has_the_same_say_in_the_mean_whatever_its_size() -> None:
    # 300 images of a class are all right, 30 of the other all wrong: the mean is 1/2 in each resample.
    labels = torch.tensor([0] * 300 + [1] * 30)
    found = bootstrap_intervals(labels == 0, labels, 2, counts=[200, 10])
    assert found["mean_class_accuracy"] == (0.5, 0.5)
    assert found["many"] == (1, 1)
    assert found["few"] == (0, 0)
    assert found["medium"] is None
    assert found["top1"][0] < 300 / 330 < found["top1"][1]


def test_classes_of_one_image_still_have_an_interval() -> None:
    labels = torch.arange(60)
    low, high = bootstrap_intervals(labels < 30, labels, 60)["mean_class_accuracy"]
    assert 0.3 < low < 0.45
    assert 0.55 < high < 0.7


def test_a_rare_class_that_a_resample_misses_is_left_out_of_it() -> None:
    # The only image of class 1 is right; it is missed by a third of the resamples, which then have no few-shot class.
    labels = torch.tensor([0] * 50 + [1])
    found = bootstrap_intervals(labels == 1, labels, 2, counts=[200, 1])
    assert found["few"] == (1, 1)
    assert found["mean_class_accuracy"] == (0, 0.5)


def test_the_same_seed_gives_the_same_intervals() -> None:
    hits, labels = _case()
    first, again, other = (bootstrap_intervals(hits, labels, 6, resamples=200, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_without_images_there_is_no_interval() -> None:
    nothing = bootstrap_intervals(torch.zeros(0).bool(), torch.zeros(0).long(), 3, counts=[1, 1, 1])
    assert nothing == dict.fromkeys(("top1", "mean_class_accuracy", "many", "medium", "few"))


def test_bad_input_is_refused_with_its_reason() -> None:
    hits, labels = _case()
    with pytest.raises(ValueError, match="must both be"):
        bootstrap_intervals(hits[:3], labels, 6)
    with pytest.raises(ValueError, match="resamples=0"):
        bootstrap_intervals(hits, labels, 6, resamples=0)
    for level in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match=f"level={level}"):
            bootstrap_intervals(hits, labels, 6, level=level)
