from __future__ import annotations

import pytest
import torch

from shelfmark.calibration import LogitAdjustment, PCSoftmax

COUNTS = [400, 150, 60, 25, 8, 2]


def _case(num_images: int, dim: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, dim, generator=generator).double()
    labels = torch.randint(6, (num_images,), generator=generator)
    features = centres[labels] + 1.2 * torch.randn(num_images, dim, generator=generator).double()
    return features, labels, centres, torch.tensor(COUNTS).double().log()


def test_one_prior_is_exchanged_for_another() -> None:
    features, _, weight, bias = _case(20)
    target = [1, 1, 1, 1, 2, 4]
    fitted = PCSoftmax(COUNTS, target).fit(weight, bias)
    expected = features @ weight.T + bias
    expected += torch.tensor(target).double().div(10).log() - torch.tensor(COUNTS).double().div(sum(COUNTS)).log()
    torch.testing.assert_close(fitted.logits(features), expected)
    torch.testing.assert_close(PCSoftmax(COUNTS, target).fit().logits(features @ weight.T + bias), expected)


def test_the_result_is_exact_for_a_classifier_that_knows_the_true_shares() -> None:
    # Bayes' rule: likelihoods 0.9 and 0.3 of an image, priors 3:1 at training and 1:3 in use.
    likelihood = torch.tensor([[0.9, 0.3]]).double()
    trained = (likelihood * torch.tensor([0.75, 0.25])).log() + 5
    used = PCSoftmax([3, 1], [0.25, 0.75]).fit().logits(trained).softmax(1)
    torch.testing.assert_close(used, torch.tensor([[0.9 * 0.25, 0.3 * 0.75]]).double() / (0.225 + 0.225))


def test_equal_priors_change_nothing_and_a_uniform_target_is_logit_adjustment() -> None:
    features, labels, weight, bias = _case(150)
    same = PCSoftmax(COUNTS, torch.tensor(COUNTS) / 10).fit(weight, bias)
    torch.testing.assert_close(same.logits(features), features @ weight.T + bias)
    uniform = PCSoftmax(COUNTS, [1] * 6).fit(weight, bias)
    adjusted = LogitAdjustment(COUNTS, [1.0]).fit(features, labels, weight, bias)
    assert adjusted.tau_ == 1
    torch.testing.assert_close(uniform.logits(features).softmax(1), adjusted.logits(features).softmax(1))


def test_a_class_that_the_target_lacks_is_never_chosen() -> None:
    features, _, weight, bias = _case(30)
    logits = PCSoftmax([*COUNTS[:5], 0], [0, 1, 1, 1, 1, 1]).fit(weight, bias).logits(features)
    assert (logits[:, 0] == -torch.inf).all()
    assert logits[:, 1:].isfinite().all()


def test_what_does_not_fit_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match="2 source_counts, but 3"):
        PCSoftmax([1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="weight .* 2 classes"):
        PCSoftmax([1, 1], [1, 1]).fit(torch.ones(3, 4))
    with pytest.raises(ValueError, match="bias .* 2 classes"):
        PCSoftmax([1, 1], [1, 1]).fit(None, torch.ones(3))
