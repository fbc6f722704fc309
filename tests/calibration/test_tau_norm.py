from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration import TauNorm, calibrated, tau_normalized
from shelfmark.calibration.folds import stratified_folds
from shelfmark.core.errors import UserError
from shelfmark.evaluation import classification

TAUS = [round(0.05 * step, 2) for step in range(31)]


def _scores_of(features, labels, weight, bias=None, counts=None):
    logits = torch.as_tensor(features) @ weight.T
    return classification.scores(logits if bias is None else logits + bias, labels, counts)


def _case(num_images: int = 120, num_classes: int = 6, dim: int = 8, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Features around class centres, and a classifier whose head classes have long rows: tau-norm helps it."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, dim, generator=generator)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    features = centres[labels] + 0.7 * torch.randn(num_images, dim, generator=generator)
    lengths = torch.linspace(3, 0.3, num_classes)
    weight = torch.nn.functional.normalize(centres) * lengths[:, None]
    return features, labels, weight, torch.randn(num_classes, generator=generator) * 0.1


def test_rows_are_divided_by_a_power_of_their_length() -> None:
    weight = torch.tensor([[3.0, 4], [0, 0], [0, 2]])
    assert torch.equal(tau_normalized(weight, 0), weight)
    torch.testing.assert_close(tau_normalized(weight, 1), torch.tensor([[0.6, 0.8], [0, 0], [0, 1]]))
    torch.testing.assert_close(tau_normalized(weight, 0.5)[0], weight[0] / 5**0.5)
    assert weight.tolist() == [[3, 4], [0, 0], [0, 2]]


@settings(max_examples=20, deadline=None)
@given(tau=st.floats(0, 2), scale=st.floats(0.01, 100), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_a_common_scale_of_the_weights_never_changes_a_prediction(tau: float, scale: float, dtype: torch.dtype) -> None:
    features, _, weight, _ = (part.to(dtype) for part in _case(30))
    logits = features @ tau_normalized(weight, tau).T
    scaled = features @ tau_normalized(weight * scale, tau).T
    assert tau_normalized(weight, tau).dtype == dtype
    torch.testing.assert_close(scaled, logits * scale ** (1 - tau), rtol=1e-4, atol=1e-4)
    clear = logits.topk(2).values.diff().abs().squeeze() > 1e-3
    assert torch.equal(scaled.argmax(1)[clear], logits.argmax(1)[clear])


@pytest.mark.parametrize("bias_mode", ["keep", "zero"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_table_holds_what_each_recalibrated_classifier_scores(
    bias_mode: str, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 6 * 17)
    features, labels, weight, bias = _case()
    labels[:5] = -1
    counts = [500, 101, 100, 20, 19, 1]
    given_bias = bias if with_bias else None
    fitted = TauNorm(TAUS, bias=bias_mode).fit(features.numpy(), labels.numpy(), weight, given_bias, counts)
    assert [row["tau"] for row in fitted.table_] == [None, *TAUS]
    for row in fitted.table_:
        tau = row["tau"]
        kept = given_bias if tau is None or bias_mode == "keep" else None
        used = weight if tau is None else tau_normalized(weight, tau)
        expected = _scores_of(features, labels, used, kept, counts)
        for name in ("top1", "mean_class_accuracy", "many", "medium", "few"):
            assert row[name] == pytest.approx(expected[name]), (tau, name)


def test_tau_zero_with_its_bias_is_the_unmodified_classifier() -> None:
    features, labels, weight, bias = _case()
    fitted = TauNorm([0.0], bias="keep").fit(features, labels, weight, bias)
    unmodified, zero = fitted.table_
    assert {**unmodified, "model": "", "tau": 0} == {**zero, "model": "", "tau": 0}
    assert fitted.chosen_is_unmodified_
    assert fitted.tau_ == 0.0
    assert torch.equal(fitted.weight_, weight)
    assert torch.equal(fitted.bias_, bias)


def test_a_classifier_with_long_head_rows_is_improved_and_stored() -> None:
    features, labels, weight, bias = _case()
    fitted = TauNorm(TAUS, bias="zero").fit(features, labels, weight, bias)
    best = max(row["mean_class_accuracy"] for row in fitted.table_)
    chosen = fitted.summary_["recalibrated"]
    assert chosen["mean_class_accuracy"] == best > fitted.table_[0]["mean_class_accuracy"]
    assert not fitted.chosen_is_unmodified_
    # Of equal taus the smallest is taken.
    assert fitted.tau_ == next(row["tau"] for row in fitted.table_ if row["mean_class_accuracy"] == best)
    assert torch.equal(fitted.weight_, tau_normalized(weight, fitted.tau_))
    assert torch.equal(fitted.bias_, torch.zeros(6))
    stored = _scores_of(features, labels, fitted.weight_, fitted.bias_)
    assert stored["mean_class_accuracy"] == pytest.approx(best)
    assert fitted.cross_validated_["mean_class_accuracy"] <= best


def test_a_good_classifier_stays_as_it_is() -> None:
    features = torch.eye(3).repeat(4, 1)
    weight, bias = torch.eye(3) * torch.tensor([1.0, 2, 3]), torch.tensor([0.5, 0, 0])
    fitted = TauNorm([0.5, 1.0]).fit(features, torch.arange(12) % 3, weight, bias)
    assert fitted.chosen_is_unmodified_
    assert torch.equal(fitted.weight_, weight)
    assert torch.equal(fitted.bias_, bias)
    assert fitted.fold_taus_ == [None] * 5
    assert fitted.cross_validated_["mean_class_accuracy"] == 1


def test_the_cross_validated_score_is_what_the_rule_earns_on_images_it_did_not_see() -> None:
    features, labels, weight, bias = _case(90)
    folds = 4
    fitted = TauNorm([0.0, 0.4, 0.8, 1.2], bias="zero", folds=folds, seed=3).fit(features, labels, weight, bias)
    fold = stratified_folds(labels.numpy(), folds, 3)
    classifiers = [(weight, bias), *((tau_normalized(weight, tau), None) for tau in (0.0, 0.4, 0.8, 1.2))]
    logits = torch.empty(90, 6)
    for number in range(folds):
        others, own = fold != number, fold == number
        scored = [_scores_of(features[others], labels[others], *one)["mean_class_accuracy"] for one in classifiers]
        best_weight, best_bias = classifiers[int(np.argmax(scored))]
        assert fitted.fold_taus_[number] == [None, 0.0, 0.4, 0.8, 1.2][int(np.argmax(scored))]
        logits[own] = torch.nn.functional.linear(features[own], best_weight, best_bias)
    expected = classification.scores(logits, labels)
    assert fitted.cross_validated_["mean_class_accuracy"] == pytest.approx(expected["mean_class_accuracy"])
    assert fitted.cross_validated_["top1"] == pytest.approx(expected["top1"])
    parts = list(fitted.held_out(features, labels))
    assert torch.cat([rows for rows, _ in parts]).sort().values.tolist() == list(range(90))
    for rows, classifier in parts:
        torch.testing.assert_close(classifier.logits(features[rows]), logits[rows])


def test_an_unsampled_class_with_a_zero_row_gives_no_nan() -> None:
    features, labels, weight, bias = _case()
    weight[5] = 0
    fitted = TauNorm([0.5, 1.0, 1.5], bias="keep").fit(features, labels, weight, bias, counts=[9, 9, 9, 9, 9, 0])
    assert fitted.weight_.isfinite().all()
    weight[5] = 1e-38
    assert tau_normalized(weight, 1.5).isfinite().all()
    assert all(row["few"] is not None for row in TauNorm([1.5]).fit(features, labels, weight, None, [9] * 6).table_)


def test_without_counts_the_groups_are_none() -> None:
    row = TauNorm([1.0]).fit(*_case()).table_[1]
    assert (row["many"], row["medium"], row["few"]) == (None, None, None)


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels, weight, bias = _case(10)
    for taus in ([], [-0.1], [float("nan")]):
        with pytest.raises(UserError, match="at least 0"):
            TauNorm(taus)
    with pytest.raises(UserError, match="not one of: keep, zero"):
        TauNorm([1.0], bias="scale")
    with pytest.raises(UserError, match="folds=1"):
        TauNorm([1.0], folds=1)
    with pytest.raises(UserError, match="3 labelled images"):
        TauNorm([1.0]).fit(features[:3], labels[:3], weight, bias)
    with pytest.raises(UserError, match="label 6 is outside the classifier's 6"):
        TauNorm([1.0]).fit(features, torch.full((10,), 6), weight, bias)
    with pytest.raises(ValueError, match="do not fit"):
        TauNorm([1.0]).fit(features, labels[:9], weight, bias)
    with pytest.raises(UserError, match="hold NaN"):
        TauNorm([1.0]).fit(features * torch.nan, labels, weight, bias)
    with pytest.raises(ValueError, match="expected"):
        tau_normalized(torch.ones(3), 1.0)
