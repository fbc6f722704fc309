from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.core.errors import UserError
from shelfmark.ops.calibration_metrics import expected_calibration_error, reliability, top_probability


def test_a_case_worked_by_hand() -> None:
    # Bins of a half. (0, 0.5]: one image, sure to 0.5, right. (0.5, 1]: 0.75 wrong, 1 right: accuracy 0.5, sure 0.875.
    probabilities = torch.tensor([[0.5, 0.5], [0.25, 0.75], [1, 0]])
    labels = torch.tensor([0, 0, 0])
    expected = 1 / 3 * 0.5 + 2 / 3 * 0.375
    assert expected_calibration_error(probabilities, labels, num_bins=2) == pytest.approx(expected)


def test_the_table_says_what_is_in_each_bin() -> None:
    found = reliability(torch.tensor([0.5, 0.75, 1]), torch.tensor([True, False, True]), num_bins=4)
    assert found.table == [
        {"above": 0, "up_to": 0.25, "num_images": 0, "confidence": None, "accuracy": None},
        {"above": 0.25, "up_to": 0.5, "num_images": 1, "confidence": 0.5, "accuracy": 1},
        {"above": 0.5, "up_to": 0.75, "num_images": 1, "confidence": 0.75, "accuracy": 0},
        {"above": 0.75, "up_to": 1, "num_images": 1, "confidence": 1, "accuracy": 1},
    ]
    assert found.expected_error == pytest.approx((0.5 + 0.75 + 0) / 3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_images=st.integers(1, 40),
    num_classes=st.integers(1, 6),
    num_bins=st.sampled_from([1, 2, 3, 7, 15]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    levels=st.sampled_from([2, 1000]),
)
def test_the_error_equals_a_loop_over_bins(
    seed: int, num_images: int, num_classes: int, num_bins: int, dtype: torch.dtype, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    logits = 4 * generator.integers(levels, size=(num_images, num_classes)) / levels
    labels = generator.integers(-1, num_classes, size=num_images)
    labels[0] = 0
    probabilities = torch.from_numpy(oracles.softmax(logits)).to(dtype)
    expected = oracles.expected_calibration_error(probabilities.double().numpy(), labels.tolist(), num_bins)
    found = expected_calibration_error(probabilities, torch.from_numpy(labels), num_bins)
    assert found == pytest.approx(expected, abs=1e-6 if dtype == torch.float32 else 1e-12)
    from_logits = expected_calibration_error(
        torch.from_numpy(logits), torch.from_numpy(labels), num_bins, from_logits=True
    )
    of_softmax = oracles.expected_calibration_error(oracles.softmax(logits), labels.tolist(), num_bins)
    # On an edge a last digit decides; one class and ties of two levels put confidences there.
    if levels == 1000 and num_classes > 1:
        assert from_logits == pytest.approx(of_softmax, abs=1e-12)


@pytest.mark.parametrize("num_bins", [2, 3, 10, 15])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(num_bins: int) -> None:
    for place in range(1, num_bins + 1):
        edge = torch.tensor([place / num_bins], dtype=torch.float64)
        for confidence, expected in ((edge, place - 1), (torch.nextafter(edge, torch.tensor(2.0).double()), place)):
            if float(confidence) <= 1:
                found = reliability(confidence, torch.tensor([True]), num_bins)
                assert int(found.num_images.argmax()) == expected


def test_confidence_as_great_as_accuracy_is_no_error() -> None:
    probabilities = torch.tensor([[0.75, 0.25]] * 4)
    assert expected_calibration_error(probabilities, torch.tensor([0, 0, 0, 1])) == 0
    assert expected_calibration_error(torch.eye(3), torch.arange(3)) == 0
    assert expected_calibration_error(torch.eye(3), torch.tensor([1, 2, 0])) == 1


def test_images_without_a_label_are_left_out_and_without_images_there_is_no_error() -> None:
    probabilities = torch.tensor([[0.75, 0.25], [0.0, 1.0]])
    assert expected_calibration_error(probabilities, torch.tensor([0, -1])) == 0.25
    assert expected_calibration_error(probabilities, torch.tensor([-1, -1])) is None


def test_the_top_probability_is_the_softmax_s_and_of_equal_logits_the_lower_class_leads() -> None:
    logits = torch.tensor([[1000.0, 999, -torch.inf], [3, 3, 3]])
    confidence, predicted = top_probability(logits)
    torch.testing.assert_close(confidence, torch.tensor([1 / (1 + np.exp(-1)), 1 / 3]).double(), rtol=1e-6, atol=0)
    assert predicted.tolist() == [0, 0]
    assert top_probability(logits.half())[0].dtype == torch.float64


def test_bad_input_is_refused_with_its_reason() -> None:
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="from_logits=True"):
        expected_calibration_error(torch.tensor([[2.0, -1], [0, 1]]), labels)
    with pytest.raises(ValueError, match="sum to 1"):
        expected_calibration_error(torch.tensor([[0.5, 0.1], [0, 1]]), labels)
    with pytest.raises(ValueError, match="do not fit"):
        expected_calibration_error(torch.eye(2), torch.zeros(3))
    with pytest.raises(ValueError, match="num_bins=0"):
        expected_calibration_error(torch.eye(2), labels, num_bins=0)
    with pytest.raises(ValueError, match="both be"):
        reliability(torch.ones(2), torch.ones(3).bool())
    with pytest.raises(UserError, match="0..1"):
        reliability(torch.tensor([torch.nan]), torch.tensor([True]))
    for broken in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="row 1"):
            expected_calibration_error(torch.tensor([[0.0, 1], [0, broken]]), labels, from_logits=True)
    with pytest.raises(UserError, match="no class at all"):
        top_probability(torch.full((1, 2), -torch.inf))
