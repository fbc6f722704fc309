from __future__ import annotations

from collections.abc import Iterator

import oracles_calibration as oracles
import pytest
import torch

from shelfmark.calibration import (
    CRT,
    LWS,
    Calibrated,
    Linear,
    LogitAdjustment,
    NearestClassMean,
    PCSoftmax,
    TauNorm,
    Temperature,
    bootstrap_intervals,
    calibrated,
    compare,
)
from shelfmark.calibration.comparison import held_out_predictions
from shelfmark.calibration.folds import fold_rows
from shelfmark.core.errors import UserError

COUNTS = [400, 150, 60, 25, 8, 2]


def _case(num_images: int = 150) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 8, generator=generator).double()
    labels = torch.randint(6, (num_images,), generator=generator)
    features = centres[labels] + 1.2 * torch.randn(num_images, 8, generator=generator).double()
    labels[:3] = -1
    return features, labels, centres, torch.tensor(COUNTS).double().log()


class Memoriser(Calibrated):
    """Knows the label of every image that it has learned from, and answers 0 to others."""

    def fit(self, features: torch.Tensor, labels: torch.Tensor) -> Memoriser:
        self.features, self.labels = features, labels
        return self

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        same = (features[:, None] == self.features).all(dim=2)
        known = torch.where(same.any(dim=1), self.labels[same.int().argmax(dim=1)], 0)
        return torch.nn.functional.one_hot(known, 6).double()

    def held_out(self, features: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, Calibrated]]:
        for rows in fold_rows(labels, 5, 0):
            others = torch.ones(len(labels)).bool()
            others[rows] = False
            yield rows, Memoriser().fit(features[others], labels[others])


def test_a_row_holds_the_scores_of_its_method_on_the_labelled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 6 * 17)
    features, labels, weight, bias = _case()
    row = compare({"unmodified": Linear(weight, bias)}, features, labels, 6, COUNTS).table[0]
    logits, known = (features @ weight.T + bias)[3:], labels[3:]
    hits = logits.argmax(1) == known
    assert row["method"] == "unmodified"
    assert row["top1"] == pytest.approx(float(hits.double().mean()))
    assert row["mean_class_accuracy"] == pytest.approx(oracles.mean_class_accuracy(logits.numpy(), known.tolist()))
    few = [float(hits[known == label].double().mean()) for label in (4, 5)]
    assert row["few"] == pytest.approx(sum(few) / 2)
    probabilities = oracles.softmax(logits.numpy())
    assert row["ece"] == pytest.approx(oracles.expected_calibration_error(probabilities, known.tolist(), 15))
    for name, interval in bootstrap_intervals(hits, known, 6, COUNTS).items():
        assert (row[f"{name}_low"], row[f"{name}_high"]) == interval
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_what_was_learned_from_an_image_never_predicts_it() -> None:
    features, labels, weight, bias = _case()
    memoriser = Memoriser().fit(features, labels)
    assert torch.equal(memoriser.logits(features[3:]).argmax(1), labels[3:])
    found = compare({"unmodified": Linear(weight, bias), "memoriser": memoriser}, features, labels, 6)
    assert found.chosen == "unmodified"
    assert found.table[1]["mean_class_accuracy"] == pytest.approx(1 / 6)


def test_every_method_fits_into_one_table() -> None:
    features, labels, weight, bias = _case()
    generator = torch.Generator().manual_seed(1)
    train_labels = torch.repeat_interleave(torch.arange(6), torch.tensor(COUNTS))
    train = weight[train_labels] + 1.2 * torch.randn(len(train_labels), 8, generator=generator).double()
    tuned = {
        "tau-norm": TauNorm([0.5, 1.0]).fit(features, labels, weight, bias, COUNTS),
        "logit adjustment": LogitAdjustment(COUNTS).fit(features, labels, weight, bias),
    }
    fitted = {
        "unmodified": Linear(weight, bias),
        **tuned,
        "temperature": Temperature().fit(features, labels, weight, bias),
        "pc softmax": PCSoftmax(COUNTS, [1] * 6).fit(weight, bias),
        "nearest class mean": NearestClassMean("centred_l2").fit(train, train_labels),
        "lws": LWS(min_steps=50).fit(train, train_labels, weight, bias),
        "crt": CRT(min_steps=50).fit(train, train_labels),
    }
    found = compare(fitted, features, labels, 6, COUNTS)
    rows = {row["method"]: row for row in found.table}
    assert list(rows) == list(fitted)
    for name, method in tuned.items():
        for score, value in method.cross_validated_.items():
            assert rows[name][score] == pytest.approx(value), (name, score)
    assert rows["temperature"]["top1"] == rows["unmodified"]["top1"]
    assert rows["temperature"]["ece"] < rows["unmodified"]["ece"]
    best = max(row["mean_class_accuracy"] for row in found.table)
    assert rows[found.chosen]["mean_class_accuracy"] == best > rows["unmodified"]["mean_class_accuracy"]
    assert found.cross_validated["mean_class_accuracy"] <= best


def test_of_equal_methods_the_first_is_chosen() -> None:
    features, labels, weight, bias = _case()
    same = {"b": Linear(weight, bias), "a": Linear(2 * weight, 2 * bias)}
    assert compare(same, features, labels, 6).chosen == "b"


def test_the_estimate_of_the_choice_is_scored_on_folds_that_did_not_choose() -> None:
    # Each constant answer is right on one class; of 2 folds of equal classes both tie, and the first is taken.
    features, labels = torch.zeros(8, 2), torch.arange(8) % 2
    constant = {name: Linear(torch.zeros(2, 2), bias) for name, bias in zip("ab", torch.eye(2))}
    found = compare(constant, features, labels, 2, folds=2)
    assert found.chosen == "a"
    assert found.cross_validated["mean_class_accuracy"] == 0.5


def test_a_class_that_is_never_chosen_has_no_say_in_the_confidence() -> None:
    features, labels = torch.eye(3), torch.arange(3)
    method = NearestClassMean("plain").fit(features[:2], labels[:2], num_classes=3)
    found = held_out_predictions(method, features[:2], labels[:2], 3)
    assert found.hits.tolist() == [True, True]
    torch.testing.assert_close(found.confidence, torch.full((2,), 1 / (1 + 2.718281828**-2)).double())


def test_a_method_that_leaves_images_out_is_refused() -> None:
    class Forgetful(Linear):
        def held_out(self, features: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, Calibrated]]:
            yield torch.arange(5), self

    features, labels, weight, bias = _case(10)
    with pytest.raises(UserError, match="a confidence is not in 0..1"):
        compare({"forgetful": Forgetful(weight, bias)}, features, labels, 6)


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels, weight, bias = _case(8)
    with pytest.raises(ValueError, match="no methods"):
        compare({}, features, labels, 6)
    with pytest.raises(UserError, match="folds=6 parts, but val has 5 labelled"):
        compare({"unmodified": Linear(weight, bias)}, features, labels, 6, folds=6)
    with pytest.raises(UserError, match="NaN"):
        compare({"broken": Linear(weight * torch.nan)}, features, labels, 6)
