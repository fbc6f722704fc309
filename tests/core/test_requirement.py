from __future__ import annotations

import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.requirement import Requirement
from shelfmark.core.score_names import CLASS_SCORES, QUERY_SCORES

SCORES = (*CLASS_SCORES, *QUERY_SCORES)


@pytest.mark.parametrize(
    ("text", "score", "is_at_least", "bound", "is_difference"),
    [
        ("mean_class_accuracy >= -0.5%", "mean_class_accuracy", True, -0.005, True),
        ("top1>=80%", "top1", True, 0.8, False),
        ("  few  >=  +.5 % ", "few", True, 0.005, True),
        ("ece <= +1%", "ece", False, 0.01, True),
        ("mean_class_error <= 12.5%", "mean_class_error", False, 0.125, False),
        ("recall@20 >= +0%", "recall@20", True, 0.0, True),
        ("map@r >= - 2%", "map@r", True, -0.02, True),
    ],
)
def test_a_sign_makes_the_number_a_difference(
    text: str, score: str, is_at_least: bool, bound: float, is_difference: bool
) -> None:
    found = Requirement.of(text, SCORES)
    assert (found.score, found.is_at_least, found.is_difference) == (score, is_at_least, is_difference)
    assert found.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean_class_acuracy >= -1%", "Did you mean 'mean_class_accuracy'"),
        ("recal@1 >= 1%", "Did you mean 'recall@K'"),
        ("recall@0 >= 1%", "is not one of"),
        ("top1 >= 80", "the number is in percent. Write 80%."),
        ("top1 >= -0.5", "the number is in percent. Write -0.5%, or -50%."),
        ("top1 >= +0.01", "Write +0.01%, or +1%."),
        ("top1 >= 180%", "no score is above 100%"),
        ("top1 >= -180%", "differ by at most 100%"),
        ("top1 > 80%", "SCORE >= PERCENT"),
        ("top1", "SCORE >= PERCENT"),
        ("top1 >= 80% and few >= 1%", "SCORE >= PERCENT"),
        ("top1 >= nan%", "SCORE >= PERCENT"),
        ("", "SCORE >= PERCENT"),
    ],
)
def test_what_is_no_requirement_is_refused_with_the_form(text: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        Requirement.of(text, SCORES)
    assert said in str(raised.value)


def test_a_bound_that_is_just_reached_is_met_and_a_missing_value_is_not() -> None:
    found = Requirement.of("top1 >= -0.5%", SCORES)
    assert found.is_met(0.695 - 0.7)  # -0.0050000000000000044
    assert not found.is_met(-0.0051)
    assert not found.is_met(None)
    assert not found.is_met(float("nan"))
    below = Requirement.of("ece <= 5%", SCORES)
    assert below.is_met(0.05)
    assert not below.is_met(0.0501)
    assert not below.is_met(None)


def test_the_sentence_says_how_the_interval_lies_to_the_bound() -> None:
    found = Requirement.of("top1 >= -0.5%", SCORES)
    assert found.judged(0.01, 0.002, 0.02).endswith("+0.20 points to +2.00 points, lies wholly within the requirement")
    assert found.judged(0.01, -0.01, 0.02).endswith("reaches beyond the requirement")
    assert found.judged(-0.01, -0.02, -0.006).endswith("lies wholly outside the requirement")
    assert found.judged(None, None, None) == "top-1 has no value here, so the requirement is not met"
    absolute = Requirement.of("few >= 60%", SCORES).judged(0.61, 0.5, 0.7)
    assert absolute.startswith("few-shot is 61.00%; the 95% interval, 50.00% to 70.00%,")
