"""What `shelfmark config --describe KEY` shows: an option, or a group with a line or two for each of its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shelfmark.cli.parser import two_columns
from shelfmark.config.options import Place
from shelfmark.config.write import inline

NO_DEFAULT = "must be given"


def described(place: Place, here: tuple[Any, str] | None = None, on_resume: str = "") -> str:
    """The screen. here: the value in a configuration, and the place that set it, '' for a default.

    on_resume: whether it may change when a run is resumed.
    """
    facts = {"value": value_of(place), "default": default_of(place)}
    if here is not None and not isinstance(here[0], Mapping):
        facts["here"] = f"{inline(here[0])} ({here[1] or 'the default'})"
    facts["on resume"] = on_resume
    paragraphs = [" ".join(paragraph.split()) for paragraph in place.shape.description.split("\n\n")]
    head = [place.key, *(line for paragraph in paragraphs if paragraph for line in two_columns({"": paragraph}))]
    head += two_columns({name: text for name, text in facts.items() if text})
    groups = place.groups()
    if [one.key for one in groups] == [place.key]:
        return "\n".join([*head, "", *_options(place)])
    if len(groups) == 1:
        return "\n".join([*head, "", groups[0].key, *_options(groups[0])])
    below = ["", *two_columns({one.name: one.description for one in groups})] if groups else []
    return "\n".join([*head, *below])


def as_facts(place: Place, here: tuple[Any, str] | None = None, on_resume: str = "") -> dict[str, Any]:
    """The same for programs. options: the names of the options and groups below a group."""
    facts = {
        "key": place.key,
        "description": place.shape.description,
        "value": value_of(place),
        "default": default_of(place),
        "on_resume": on_resume,
        "options": [member.key for group in place.groups() for member in group.members()],
    }
    return facts if here is None else {**facts, "here": here[0], "set_by": here[1] or "the default"}


def value_of(place: Place) -> str:
    """What may stand at a place, in words; '' for a group, of which its options say that."""
    groups = place.groups()
    if not groups:
        return place.shape.expected()
    if [one.key for one in groups] == [place.key]:
        return ""
    return "a list of groups" if place.shape.is_list else "groups, each behind a name of yours"


def default_of(place: Place) -> str:
    """The default as YAML writes it; '' for a group."""
    if "default" not in place.shape.schema:
        if place.shape.keys():
            return ""
        # A mapping is made anew for each entry, so no schema shows the default.
        return "{}" if place.shape.schema.get("type") == "object" else NO_DEFAULT
    if place.shape.keys() or (isinstance(place.shape.default, Mapping) and place.shape.default):
        return ""
    if isinstance(place.shape.default, list) and any(isinstance(one, Mapping) for one in place.shape.default):
        return f"{[one.get('name', '') for one in place.shape.default]}".replace("'", "")
    return inline(place.shape.default)


def _options(group: Place) -> list[str]:
    members = [one for one in group.members() if one.shape.choices != [one.shape.default]]
    return two_columns({one.name: _in_short(one) for one in members})


def _in_short(place: Place) -> str:
    default = default_of(place)
    value = value_of(place) or f"a group of options: {place.groups()[0].key}"
    told = f"{value}; {default if default == NO_DEFAULT else f'default {default}'}" if default else value
    return f"{place.description} [{told}]" if place.description else told
