from __future__ import annotations

import pytest

from shelfmark.core.errors import UserError, choose, did_you_mean


@pytest.mark.parametrize(
    ("word", "expected"),
    [("sdg", "sgd"), ("SGD", "sgd"), ("ADAM-W", "adam_w"), ("adamw", "adam_w"), ("rmsprop", None), ("", None)],
)
def test_the_nearest_choice_overlooks_case_and_dashes(word, expected):
    assert did_you_mean(word, ["sgd", "adam_w"]) == expected


def test_nothing_is_near_where_there_are_no_choices():
    assert did_you_mean("sgd", []) is None


def test_a_right_choice_comes_back():
    assert choose("optim.name", "sgd", ["sgd", "adam"]) == "sgd"


@pytest.mark.parametrize(("value", "hint"), [("sdg", " Did you mean 'sgd'?"), ("zzz", "")])
def test_a_wrong_choice_names_the_option_the_value_and_the_choices(value, hint):
    with pytest.raises(UserError) as caught:
        choose("optim.name", value, iter(["sgd", "adam"]))
    assert str(caught.value) == f"optim.name={value!r} is not one of: sgd, adam.{hint}"
