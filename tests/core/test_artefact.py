"""Whether a derived file fits, and what differs where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmark.core.artefact import Difference, differences, flat, listed


def test_nested_facts_get_dotted_names_in_json_s_types() -> None:
    nested = {"model": {"pooling": {"p": 3.0}, "heads": {}, "modules": ("qkv",)}, "root": Path("/data")}
    assert flat(nested) == {"model.pooling.p": 3.0, "model.heads": {}, "model.modules": ["qkv"], "root": "/data"}


def test_every_fact_that_changed_came_or_went_is_named_with_both_values() -> None:
    before = {"a": 1, "b": False, "gone": "x", "same": [1, 2]}
    now = {"a": 2, "b": None, "new": 0, "same": [1, 2]}
    assert differences(before, now) == [
        Difference("a", 1, 2),
        Difference("b", False, None),
        Difference("gone", "x", None),
        Difference("new", None, 0),
    ]
    assert differences(before, before) == []


def test_an_empty_group_is_no_fact() -> None:
    assert differences({"options": {}}, {}) == []
    assert [one.name for one in differences({"options": {}}, {"options.depth": 3})] == ["options.depth"]


def test_a_fact_that_is_younger_than_the_file_was_at_its_default() -> None:
    defaults = {"old": 1, "young": 5}
    assert differences({"old": 2}, {"old": 2, "young": 5}, defaults) == []
    assert differences({"old": 2}, {"old": 2, "young": 6}, defaults) == [Difference("young", 5, 6)]
    # What is no fact any more has no default either.
    assert differences({"old": 2}, {"old": 2}, defaults) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ([("model.neck", "none", "bn")], "model.neck was 'none', now 'bn'"),
        ([("checkpoint_sha256", "a" * 64, "b" * 64)], "checkpoint_sha256 changed"),
        ([("a", 1, 2), ("b", 1, None), ("c", 3, 4)], "a was 1, now 2; b was 1, now None; and 1 more"),
    ],
)
def test_what_differs_is_told_in_words(changed: list[tuple[str, object, object]], told: str) -> None:
    assert listed([Difference(*one) for one in changed], most=2) == told
