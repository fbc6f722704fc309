from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration import LogitAdjustment, calibrated
from shelfmark.calibration.folds import stratified_folds
from shelfmark.core.errors import UserError

COUNTS = [400, 150, 60, 25, 8, 2]
TAUS = [0.0, 0.25, 0.5, 1.0, 1.5]


def _case(num_images: int = 150, dim: int = 8, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Features around class centres, and a classifier whose bias favours frequent classes: adjustment helps it."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, dim, generator=generator).double()
    labels = torch.randint(6, (num_images,), generator=generator)
    features = centres[labels] + 1.2 * torch.randn(num_images, dim, generator=generator).double()
    return features, labels, centres, torch.tensor(COUNTS).double().log()


def test_a_case_worked_by_hand() -> None:
    # Shares 0.8 and 0.2: at tau 1 class 1 gains ln 4 = 1.386 on class 0.
    logits, labels = torch.tensor([[1.0, 0], [1.5, 0]] * 5), torch.tensor([1, 0] * 5)
    fitted = LogitAdjustment([8, 2], taus=[0.5, 1.0]).fit(logits, labels)
    assert [row["mean_class_accuracy"] for row in fitted.table_] == [0.5, 0.5, 1]
    assert [row["tau"] for row in fitted.table_] == [0, 0.5, 1]
    assert fitted.tau_ == 1
    assert fitted.weight_ is None
    torch.testing.assert_close(fitted.bias_, -torch.tensor([0.8, 0.2]).double().log())
    assert fitted.logits(logits).argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_table_holds_what_each_tau_scores(with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 6 * 17)
    features, labels, weight, bias = _case()
    labels[:5] = -1
    given_bias = bias if with_bias else None
    fitted = LogitAdjustment(COUNTS, TAUS).fit(features.numpy(), labels.numpy(), weight, given_bias)
    logits = (features @ weight.T + (bias if with_bias else 0))[5:].numpy()
    for row in fitted.table_:
        scored = oracles.adjusted(logits, COUNTS, row["tau"])
        expected = oracles.mean_class_accuracy(scored, labels[5:].tolist())
        assert row["mean_class_accuracy"] == pytest.approx(expected), row["tau"]
        assert row["top1"] == pytest.approx((scored.argmax(1) == labels[5:].numpy()).mean())
    best = max(row["mean_class_accuracy"] for row in fitted.table_)
    # Of equal taus the smallest is taken.
    assert fitted.tau_ == next(row["tau"] for row in fitted.table_ if row["mean_class_accuracy"] == best)


def test_frequent_classes_are_held_back_and_the_result_is_a_plain_linear_classifier() -> None:
    features, labels, weight, bias = _case()
    fitted = LogitAdjustment(COUNTS).fit(features, labels, weight, bias)
    assert fitted.tau_ > 0
    assert fitted.table_[0]["mean_class_accuracy"] < fitted.cross_validated_["mean_class_accuracy"]
    assert torch.equal(fitted.weight_, weight)
    linear = torch.nn.functional.linear(features, fitted.weight_, fitted.bias_)
    torch.testing.assert_close(fitted.logits(features), linear)
    expected = oracles.adjusted((features @ weight.T + bias).numpy(), COUNTS, fitted.tau_)
    np.testing.assert_allclose(linear, expected, rtol=1e-12)
    assert fitted.table_[0]["many"] is not None


def test_logits_and_features_with_their_classifier_give_the_same() -> None:
    features, labels, weight, bias = _case()
    of_features = LogitAdjustment(COUNTS).fit(features, labels, weight, bias)
    logits = features @ weight.T + bias
    of_logits = LogitAdjustment(COUNTS).fit(logits, labels)
    assert of_logits.table_ == of_features.table_
    torch.testing.assert_close(of_logits.logits(logits), of_features.logits(features))


def test_tau_zero_is_the_classifier_as_it_was() -> None:
    features, labels, weight, bias = _case()
    fitted = LogitAdjustment(COUNTS, taus=[]).fit(features, labels, weight, bias)
    assert fitted.tau_ == 0
    assert torch.equal(fitted.bias_, bias)
    assert torch.equal(LogitAdjustment(COUNTS, taus=[]).fit(features, labels, weight).bias_, torch.zeros(6).double())


def test_equal_counts_change_no_prediction() -> None:
    features, labels, weight, _ = _case()
    fitted = LogitAdjustment([7] * 6).fit(features, labels, weight)
    assert fitted.tau_ == 0
    assert len({row["mean_class_accuracy"] for row in fitted.table_}) == 1


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.01, 1000), tau=st.floats(0.1, 2))
def test_only_the_shares_of_the_counts_matter(factor: float, tau: float) -> None:
    features, labels, weight, bias = _case(20)
    counts = torch.tensor([*COUNTS[:5], 0]).double()
    expected, scaled = (
        LogitAdjustment(given, [tau]).fit(features, labels, weight, bias) for given in (counts, counts * factor)
    )
    torch.testing.assert_close(scaled.bias_, expected.bias_, rtol=1e-9, atol=1e-9)


def test_a_class_without_training_images_is_treated_as_one_of_the_rarest() -> None:
    features, labels, weight, bias = _case()
    fitted = LogitAdjustment([400, 150, 60, 25, 2, 0], [1.0]).fit(features, labels, weight, bias)
    assert fitted.tau_ == 1
    gained = fitted.bias_ - bias
    assert gained.isfinite().all()
    torch.testing.assert_close(gained[5], gained[4])


def test_the_cross_validated_score_is_what_the_rule_earns_on_images_it_did_not_see() -> None:
    features, labels, weight, bias = _case(90)
    fitted = LogitAdjustment(COUNTS, TAUS, folds=4, seed=3).fit(features, labels, weight, bias)
    fold = stratified_folds(labels.numpy(), 4, 3)
    logits, held_out = (features @ weight.T + bias).numpy(), np.empty((90, 6))
    for number in range(4):
        others, own = fold != number, fold == number
        scored = [
            oracles.mean_class_accuracy(oracles.adjusted(logits[others], COUNTS, tau), labels[others].tolist())
            for tau in TAUS
        ]
        assert fitted.fold_taus_[number] == TAUS[int(np.argmax(scored))]
        held_out[own] = oracles.adjusted(logits[own], COUNTS, fitted.fold_taus_[number])
    expected = oracles.mean_class_accuracy(held_out, labels.tolist())
    assert fitted.cross_validated_["mean_class_accuracy"] == pytest.approx(expected)
    for rows, classifier in fitted.held_out(features, labels):
        np.testing.assert_allclose(classifier.logits(features[rows]), held_out[rows.numpy()])


def test_float32_weights_stay_float32_and_are_copied() -> None:
    features, labels, weight, bias = (part.float() if part.is_floating_point() else part for part in _case())
    fitted = LogitAdjustment(COUNTS).fit(features, labels, weight, bias)
    assert fitted.weight_.dtype == fitted.bias_.dtype == torch.float32
    assert fitted.logits(features.double().numpy()).dtype == torch.float32
    weight.zero_()
    assert fitted.weight_.any()


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels, weight, _ = _case(10)
    for taus in ([-0.1], [float("nan")]):
        with pytest.raises(UserError, match="at least 0"):
            LogitAdjustment(COUNTS, taus)
    with pytest.raises(UserError, match="folds=1"):
        LogitAdjustment(COUNTS, folds=1)
    with pytest.raises(ValueError, match="not negative"):
        LogitAdjustment([1, -1])
    with pytest.raises(ValueError, match="each of the 2 counts"):
        LogitAdjustment([1, 1]).fit(features, labels, weight)
    with pytest.raises(ValueError, match=r"fit as \(N, 6\)"):
        LogitAdjustment(COUNTS).fit(features, labels)
    with pytest.raises(UserError, match="3 labelled images"):
        LogitAdjustment(COUNTS).fit(features[:3], labels[:3], weight)
    with pytest.raises(UserError, match="hold NaN"):
        LogitAdjustment(COUNTS).fit(features * torch.nan, labels, weight)
