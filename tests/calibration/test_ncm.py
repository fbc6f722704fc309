from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration import NearestClassMean, calibrated
from shelfmark.core.errors import UserError

FORMS = ["plain", "l2", "centred_l2"]


def test_scores_of_a_case_worked_by_hand() -> None:
    features, labels = torch.tensor([[0.0, 0], [2, 0], [5, 4]]), torch.tensor([0, 0, 2])
    fitted = NearestClassMean("plain").fit(features, labels)
    assert fitted.means_.tolist() == [[1, 0], [0, 0], [5, 4]]
    assert fitted.num_images_.tolist() == [2, 0, 1]
    assert fitted.scores(torch.tensor([[1.0, 1]]))[0].tolist() == pytest.approx([-1, -torch.inf, -25])


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_images=st.integers(1, 30),
    num_classes=st.integers(1, 6),
    dim=st.integers(1, 5),
    origin=st.sampled_from([0.0, 100.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_scores_equal_loops(
    form: str, seed: int, num_images: int, num_classes: int, dim: int, origin: float, dtype: torch.dtype
) -> None:
    generator = np.random.default_rng(seed)
    train, test = (torch.from_numpy(generator.normal(origin, size=(n, dim))).to(dtype) for n in (num_images, 7))
    labels = generator.integers(-1, num_classes, size=num_images)
    labels[0] = num_classes - 1
    train[-1] = origin  # at the origin a row of zeros, which has no direction
    fitted = NearestClassMean(form).fit(train, torch.from_numpy(labels))
    expected = oracles.nearest_mean_scores(train.numpy(), labels.tolist(), test.numpy(), num_classes, form)
    scores = fitted.scores(test)
    assert scores.dtype == dtype
    assert torch.equal(scores, fitted.logits(test))
    tolerance = 1e-9 if dtype == torch.float64 else 2e-5
    if form == "centred_l2":
        # The centre is rounded, by more the further out it lies; the direction of a row near it turns by that much.
        centre = train.double().mean(0)
        lengths = torch.cat([train, test]).double().sub(centre).norm(dim=1)
        tolerance += 16 * torch.finfo(dtype).eps * max(1.0, origin) / float(lengths[lengths > 1e-3].min())
    np.testing.assert_allclose(scores, expected, rtol=tolerance, atol=tolerance)


def test_far_from_the_origin_no_digits_are_lost() -> None:
    train = torch.tensor([[4096.0, 0], [4096.5, 0]])
    fitted = NearestClassMean("plain").fit(train, torch.arange(2))
    assert fitted.scores(torch.tensor([[4096.125, 0]])).tolist() == [[-(0.125**2), -(0.375**2)]]


@pytest.mark.parametrize("form", FORMS)
def test_a_class_without_images_is_never_chosen(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 4, generator=generator), torch.randint(1, 4, (30,), generator=generator)
    fitted = NearestClassMean(form).fit(features, labels, num_classes=6)
    scores = fitted.scores(torch.randn(50, 4, generator=generator))
    assert (scores[:, [0, 4, 5]] == -torch.inf).all()
    assert scores[:, 1:4].isfinite().all()
    assert fitted.means_.isfinite().all()


def test_the_plain_form_is_a_linear_classifier() -> None:
    generator = torch.Generator().manual_seed(1)
    features, labels = torch.randn(40, 5, generator=generator).double(), torch.arange(40) % 7
    fitted = NearestClassMean("plain").fit(features, labels, num_classes=8)
    images = torch.randn(30, 5, generator=generator).double()
    linear = torch.nn.functional.linear(images, fitted.weight_, fitted.bias_)
    torch.testing.assert_close(linear - images.square().sum(1, keepdim=True), fitted.scores(images))
    assert torch.equal(linear.argmax(1), fitted.scores(images).argmax(1))
    assert fitted.bias_[7] == -torch.inf


@pytest.mark.parametrize("form", ["l2", "centred_l2"])
def test_a_form_that_normalises_says_that_no_linear_classifier_does_the_same(form: str) -> None:
    fitted = NearestClassMean(form).fit(torch.eye(3), torch.arange(3))
    for name in ("weight_", "bias_"):
        with pytest.raises(UserError, match=f"the {form} form .* Use form=plain"):
            getattr(fitted, name)


def test_normalised_forms_do_not_see_the_scale_and_the_centred_one_not_the_origin_either() -> None:
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(30, 4, generator=generator).double(), torch.arange(30) % 5
    images = torch.randn(10, 4, generator=generator).double()
    for form, move in (("l2", 0.0), ("centred_l2", 3.0)):
        expected = NearestClassMean(form).fit(features, labels).scores(images)
        moved = NearestClassMean(form).fit(7 * features + move, labels).scores(7 * images + move)
        torch.testing.assert_close(moved, expected)


def test_the_means_of_normalised_features_are_not_normalised_again() -> None:
    fitted = NearestClassMean("l2").fit(torch.tensor([[3.0, 0], [0, 5]]), torch.tensor([0, 0]))
    torch.testing.assert_close(fitted.means_, torch.tensor([[0.5, 0.5]]))


def test_blocks_numpy_and_unlabelled_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    features, labels = torch.randn(50, 4, generator=generator), torch.arange(50) % 3
    images = torch.randn(23, 4, generator=generator)
    whole = NearestClassMean("centred_l2").fit(features, labels)
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 20)
    with_others = torch.cat([features, 100 * torch.ones(2, 4)])
    in_blocks = NearestClassMean("centred_l2").fit(with_others.numpy(), np.append(labels.numpy(), [-1, -1]))
    torch.testing.assert_close(in_blocks.scores(images.numpy()), whole.scores(images))


def test_half_precision_features_are_averaged_as_float32() -> None:
    fitted = NearestClassMean("plain").fit(torch.full((5000, 1), 2.1).half(), torch.zeros(5000).long())
    assert fitted.means_.dtype == torch.float32
    assert float(fitted.means_[0, 0]) == float(torch.tensor(2.1).half())


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels = torch.eye(3), torch.arange(3)
    with pytest.raises(UserError, match="not one of: plain, l2, centred_l2"):
        NearestClassMean("cosine")
    with pytest.raises(UserError, match="label 2 is outside the classifier's 2"):
        NearestClassMean().fit(features, labels, num_classes=2)
    with pytest.raises(ValueError, match="do not fit"):
        NearestClassMean().fit(features, labels[:2])
    with pytest.raises(UserError, match="no image has a label"):
        NearestClassMean().fit(features, torch.full((3,), -1))
    with pytest.raises(UserError, match="NaN or infinity"):
        NearestClassMean().fit(features * torch.nan, labels)
    with pytest.raises(ValueError, match="differ in width"):
        NearestClassMean().fit(features, labels).scores(torch.ones(2, 4))
