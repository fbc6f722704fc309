"""Where the run comes from: commands, versions, hashes, machine, times, and every option that was set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import DataTable, Definitions, Folded, Lacking, Part

_SET = re.compile(r"^(?P<indent> *)(?P<dash>- )?(?P<key>[^:#]+):(?P<value>.*)$")
_NAMES = {
    "started": "started",
    "shelfmark": "Shelfmark",
    "git": "git commit",
    "python": "Python",
    "torch": "torch",
    "numpy": "numpy",
    "platform": "platform",
    "machine": "machine",
    "gpu": "GPU",
    "processes": "processes",
    "threads": "threads",
}


def provenance_section(
    environments: Sequence[Mapping[str, Any]], config: str, facts: Sequence[tuple[str, str]]
) -> Section:
    """environments: environment.json of the run and of each time it went on. config: the text of config.yaml, whose
    comments say where a value comes from. facts: hashes and times, as (name, text)."""
    parts: list[Part] = []
    if environments:
        for number, environment in enumerate(environments, start=1):
            again = f", part {number}" if len(environments) > 1 else ""
            items = [("command" + again, shlex.join(map(str, environment.get("command", ()))))]
            items += [(shown, _text(environment[name])) for name, shown in _NAMES.items() if environment.get(name)]
            parts.append(Definitions(tuple(items)))
    else:
        parts.append(Lacking("environment.json is not in the folder: command and machine are not known."))
    parts.append(Definitions(tuple(facts)))
    found = options_set(config)
    if found:
        table = DataTable("Options that were set", ("option", "value", "set by"), found, is_text=True)
        parts.append(Folded(f"{len(found)} options were set; the others are defaults", (table,)))
    return Section("Provenance", tuple(parts))


def options_set(config: str) -> tuple[tuple[str, str, str], ...]:
    """(option, value, origin) of each line of a config.yaml of ours that has an origin behind it."""
    found = []
    path: list[tuple[int, str]] = []
    for line in config.splitlines():
        match = _SET.match(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        indent = len(match["indent"]) + len(match["dash"] or "")
        path = [(depth, key) for depth, key in path if depth < indent]
        path.append((indent, match["key"].strip()))
        value, mark, origin = match["value"].rpartition("  # ")
        if mark:
            found.append((".".join(key for _, key in path), value.strip(), origin.strip()))
    return tuple(found)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(str(one) if name == "commit" else f"{name}: {one}" for name, one in value.items())
    return str(value)
