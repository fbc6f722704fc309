"""Which options shape an embedding: no option of the network or the pictures is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shelfmark.config.section import Section
from shelfmark.core.artefact import differences
from shelfmark.recipe import Recipe
from shelfmark.recipe.forward import SHAPES_NO_EMBEDDING, forward_options


def options_below(section: Section, name: str) -> Iterator[tuple[str, Any]]:
    """Every option with its value, as the tree declares them."""
    for field in type(section).model_fields:
        value = getattr(section, field)
        if isinstance(value, Section):
            yield from options_below(value, f"{name}.{field}")
        else:
            yield f"{name}.{field}", value


def with_another_value(section: Section, path: list[str], value: Any) -> Section:
    first, *below = path
    new = with_another_value(getattr(section, first), below, value) if below else value
    return section.model_copy(update={first: new})


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {"more": 1}
    if isinstance(value, tuple):
        return (*value, 7)
    return f"{value} and more"


EVERY_OPTION = [
    (name, value) for group in ("model", "data") for name, value in options_below(getattr(Recipe(), group), group)
]


def is_listed(name: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key in SHAPES_NO_EMBEDDING)


def test_each_option_of_model_and_data_is_in_the_key_or_in_the_list_of_those_that_are_not() -> None:
    key = set(forward_options(Recipe()))
    assert {name for name, _ in EVERY_OPTION} == key | {name for name, _ in EVERY_OPTION if is_listed(name)}
    assert not any(is_listed(name) for name in key)
    assert {"model.last_stride", "model.pooling.p", "model.backbone_options", "data.mean", "data.eval_crop"} <= key


def test_the_list_names_only_options_that_there_are() -> None:
    names = [name for name, _ in EVERY_OPTION]
    assert [key for key in SHAPES_NO_EMBEDDING if not any(f"{name}.".startswith(f"{key}.") for name in names)] == []


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_another_value_of_any_option_in_the_key_does_not_fit_and_is_named() -> None:
    before = forward_options(Recipe())
    for name, value in EVERY_OPTION:
        now = forward_options(with_another_value(Recipe(), name.split("."), another(value)))
        found = [one.name for one in differences(before, now)]
        named = f"{name}.more" if value == {} else name
        assert found == ([] if is_listed(name) else [named]), name
