from __future__ import annotations

import math

import numpy as np
import oracles_calibration as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration import Linear, Temperature, calibrated, temperature
from shelfmark.calibration.folds import stratified_folds
from shelfmark.core.errors import UserError


def _case(num_images: int = 60, num_classes: int = 4, seed: int = 0, scale: float = 3.0) -> tuple[torch.Tensor, ...]:
    """Logits that know the label, but are `scale` times too sure."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, num_classes, generator=generator).double()
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return scale * logits, labels


def test_a_case_worked_by_hand() -> None:
    # Three of four right, all with a lead of 2: softmax is 3/4 where 2 / T = ln 3.
    logits, labels = torch.tensor([[2.0, 0]] * 4), torch.tensor([0, 0, 0, 1])
    fitted = Temperature().fit(logits, labels)
    assert fitted.temperature_ == pytest.approx(2 / math.log(3), rel=1e-6)
    sure = 1 / (1 + math.exp(-2))
    assert fitted.ece_before_ == pytest.approx(sure - 0.75, rel=1e-6)
    assert fitted.ece_after_ == pytest.approx(0, abs=1e-7)
    assert fitted.nll_before_ == pytest.approx(-0.75 * math.log(sure) - 0.25 * math.log(1 - sure), rel=1e-6)
    assert fitted.nll_after_ == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.1, 1.0, 8.0]), num_classes=st.integers(2, 6))
def test_the_temperature_has_the_least_likelihood_loss(seed: int, scale: float, num_classes: int) -> None:
    logits, labels = _case(25, num_classes, seed, scale)
    fitted = Temperature().fit(logits, labels)
    expected = oracles.best_temperature(logits.numpy(), labels.tolist())
    if fitted.temperature_ == 1:
        # Then the loss falls towards one of the ends.
        assert not 0.002 < expected < 500
    else:
        assert fitted.temperature_ == pytest.approx(expected, rel=1e-4)
        assert fitted.nll_after_ <= fitted.nll_before_
    assert fitted.nll_before_ == pytest.approx(oracles.mean_nll(logits.numpy(), labels.tolist()))
    nll_after = oracles.mean_nll(logits.numpy(), labels.tolist(), fitted.temperature_)
    assert fitted.nll_after_ == pytest.approx(nll_after)
    for divisor, ece in ((1.0, fitted.ece_before_), (fitted.temperature_, fitted.ece_after_)):
        probabilities = oracles.softmax(logits.numpy() / divisor)
        assert ece == pytest.approx(oracles.expected_calibration_error(probabilities, labels.tolist(), 15))


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-4, 1e4), seed=st.integers(0, 20))
def test_logits_times_a_factor_give_the_temperature_times_that_factor(factor: float, seed: int) -> None:
    logits, labels = _case(seed=seed)
    expected = Temperature().fit(logits, labels)
    scaled = Temperature().fit(factor * logits, labels)
    assert expected.temperature_ != 1
    assert scaled.temperature_ == pytest.approx(factor * expected.temperature_, rel=1e-6)
    torch.testing.assert_close(scaled.logits(factor * logits), expected.logits(logits), rtol=1e-6, atol=1e-6)


def test_a_shift_of_a_row_changes_nothing() -> None:
    logits, labels = _case()
    shifted = logits + torch.arange(60)[:, None] * 100
    expected = Temperature().fit(logits, labels).temperature_
    assert Temperature().fit(shifted, labels).temperature_ == pytest.approx(expected)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([[5.0, 0], [0, 3]], [0, 1]),  # all right: the lower T the better
        ([[5.0, 0], [0, 3]], [1, 0]),  # all wrong: the higher T the better
        ([[1.0, 1], [2, 2]], [0, 1]),  # nothing to tell
        ([[0.1, 0.1], [0.3, 0.3], [0.7, 0.7]], [0, 1, 1]),
        ([[4.0], [2.0]], [0, 0]),  # one class
        ([[3.0, 0]], [0]),  # one image
        ([[3.0, 0], [3, 0]], [0, 1]),  # right as often as a guess
    ],
)
def test_where_no_temperature_is_best_it_is_one(logits: list, labels: list) -> None:
    fitted = Temperature().fit(torch.tensor(logits), torch.tensor(labels))
    assert fitted.temperature_ == 1
    assert fitted.nll_after_ == fitted.nll_before_


@pytest.mark.parametrize("seed", range(8))
def test_rounding_makes_no_temperature_of_logits_that_tell_nothing(seed: int) -> None:
    # Each row once with every label: no class is more likely than another, and T should be without end.
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed))
    fitted = Temperature().fit(rows.repeat_interleave(3, dim=0), torch.arange(60) % 3)
    assert fitted.temperature_ == 1


@pytest.mark.parametrize("margin", [1e-6, 1e-3, 30.0, 3000.0])
def test_a_single_wrong_image_is_enough_for_a_finite_temperature(margin: float) -> None:
    # 99 right and 1 wrong by the same margin: 99 times as likely where margin / T = ln 99.
    logits = torch.tensor([[margin, 0.0]] * 100, dtype=torch.float64)
    fitted = Temperature().fit(logits, torch.tensor([0] * 99 + [1]))
    assert fitted.temperature_ == pytest.approx(margin / math.log(99), rel=1e-6)


@pytest.mark.parametrize(("lead", "wrong_lead"), [(1.0, 50.0), (0.01, 4.0), (40.0, 1e-3), (1.0, 400.0)])
def test_errors_far_surer_or_far_less_sure_than_the_right_images_are_no_trouble(lead: float, wrong_lead: float) -> None:
    logits = torch.tensor([[lead, 0]] * 500 + [[wrong_lead, 0]]).double()
    labels = torch.tensor([0] * 500 + [1])
    fitted = Temperature().fit(logits, labels)
    expected = oracles.best_temperature(logits.numpy(), labels.tolist(), low=1e-6, high=1e6)
    assert fitted.temperature_ == pytest.approx(expected, rel=1e-4)


def _seen_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each product that is made from now on."""
    seen: list[int] = []

    def noted(classifier: Linear, features: torch.Tensor, logits=Linear.logits) -> torch.Tensor:
        seen.append(len(features))
        return logits(classifier, features)

    monkeypatch.setattr(Linear, "logits", noted)
    return seen


def test_a_few_passes_over_the_images_are_enough_for_all_and_for_every_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _seen_rows(monkeypatch)
    for scale in (1e-3, 1.0, 1e3):
        assert len(set(Temperature().fit(*_case(scale=scale)).fold_temperatures_)) == 5
    assert seen.count(60) <= 3 * 6


def test_of_many_images_a_part_tells_where_to_begin_and_two_passes_do_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = _case(9000)
    seen = _seen_rows(monkeypatch)
    fitted = Temperature().fit(logits, labels)
    assert seen.count(9000) == 2
    monkeypatch.setattr(temperature, "_LEAST_ROUGH", 10**6)
    exact = Temperature().fit(logits, labels)
    assert fitted.temperature_ == pytest.approx(exact.temperature_, rel=1e-10)
    assert fitted.fold_temperatures_ == pytest.approx(exact.fold_temperatures_, rel=1e-10)
    assert fitted.nll_after_ == pytest.approx(exact.nll_after_, rel=1e-12)
    assert fitted.ece_after_ == pytest.approx(exact.ece_after_, rel=1e-8)


def test_a_part_that_has_no_best_temperature_is_no_hindrance() -> None:
    # All of the images 0, 16, 32, ... are right, but not all images.
    labels = torch.zeros(9000, dtype=torch.int64)
    labels[5::160] = 1
    logits = torch.tensor([[3.0, 0.0]], dtype=torch.float64).expand(9000, 2)
    share = float(labels.double().mean())
    fitted = Temperature().fit(logits, labels)
    assert fitted.temperature_ == pytest.approx(3 / math.log((1 - share) / share), rel=1e-9)


def test_the_given_logits_stay_as_they_are() -> None:
    logits, labels = _case()
    given = logits.clone()
    Temperature().fit(logits, labels)
    assert torch.equal(logits, given)


def test_features_with_their_classifier_give_the_same_as_their_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(4, 6, generator=generator), torch.randn(4, generator=generator)
    features, labels = torch.randn(50, 6, generator=generator), torch.arange(50) % 4
    labels[::2] = (features @ weight.T + bias).argmax(1)[::2]
    labels[0] = -1
    of_logits = Temperature().fit(features @ weight.T + bias, labels)
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 4 * 7)
    of_features = Temperature().fit(features.numpy(), labels.numpy(), weight, bias)
    assert of_features.temperature_ == pytest.approx(of_logits.temperature_, rel=1e-5)
    assert of_features.ece_after_ == pytest.approx(of_logits.ece_after_, rel=1e-4)
    stored = torch.nn.functional.linear(features, of_features.weight_, of_features.bias_)
    torch.testing.assert_close(stored, of_features.logits(features))
    assert of_features.weight_.dtype == torch.float32
    assert of_logits.weight_ is None
    torch.testing.assert_close(of_logits.logits(features @ weight.T + bias), stored)
    assert torch.equal(stored.argmax(1), (features @ weight.T + bias).argmax(1))


def test_images_are_predicted_with_the_temperature_of_the_other_folds() -> None:
    logits, labels = _case(40)
    labels[3] = -1
    fitted = Temperature(folds=4, seed=5).fit(logits, labels)
    known = (labels >= 0).nonzero()[:, 0].numpy()
    fold = stratified_folds(labels.numpy()[known], 4, 5)
    for number, (rows, classifier) in enumerate(fitted.held_out(logits, labels)):
        assert rows.tolist() == known[fold == number].tolist()
        others = known[fold != number]
        expected = oracles.best_temperature(logits.numpy()[others], labels.numpy()[others].tolist())
        ratio = logits[rows] / classifier.logits(logits[rows])
        np.testing.assert_allclose(ratio, expected, rtol=1e-4)


def test_bad_input_is_refused_with_its_reason() -> None:
    logits, labels = _case(10)
    with pytest.raises(UserError, match="folds=1"):
        Temperature(folds=1)
    with pytest.raises(UserError, match="no image has a label"):
        Temperature().fit(logits, torch.full((10,), -1))
    with pytest.raises(ValueError, match="do not fit"):
        Temperature().fit(logits, labels[:9])
    with pytest.raises(ValueError, match=r"fit as \(N, 5\)"):
        Temperature().fit(logits, labels, torch.ones(4, 5))
    with pytest.raises(UserError, match="outside the classifier's 4"):
        Temperature().fit(logits, labels + 4)
    for broken in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(UserError, match="NaN or infinity"):
            Temperature().fit(logits.index_fill(0, torch.tensor([3]), broken), labels)
    with pytest.raises(UserError, match="2 labelled images"):
        next(Temperature().fit(logits, labels).held_out(logits[:2], labels[:2]))
