"""The options that a run was trained with, where each was set, and how those of several runs differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.nodes import DEFAULT, Node, origins, plain
from shelfmark.config.options import value_at
from shelfmark.config.write import inline
from shelfmark.config.yaml_lines import read_file
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.recipe.of_checkpoint import recipe_of, source_of_training

_OF_RUN = ("name",)
"""Options that say nothing of the training."""


@dataclass(frozen=True)
class RunConfig:
    """options: by dotted key; an entry of a list is called by its name, as `losses.smooth_ap.weight`.

    origins: where each was set, `default` if nowhere; None if no file says so. entries: the keys of such entries.
    """

    options: Mapping[str, Any]
    origins: Mapping[str, str | None]
    entries: Collection[str]

    def set_in(self, entry: str) -> dict[str, Any] | None:
        """The options of an entry that are not known to be defaults; None if there is no such entry."""
        if entry not in self.entries:
            return None
        inside = {key.removeprefix(f"{entry}."): key for key in self.options if key.startswith(f"{entry}.")}
        return {name: self.options[key] for name, key in inside.items() if self._is_set(name, key)}

    def _is_set(self, name: str, key: str) -> bool:
        return name != "name" and self.origins[key] != DEFAULT


@dataclass(frozen=True)
class ConfigDifference:
    """An option whose value is not the same in all runs. values, origins: one a run; None where a run has no such."""

    option: str
    values: tuple[Any, ...]
    origins: tuple[str | None, ...]


def run_config(checkpoint: Checkpoint, folders: Sequence[Path]) -> RunConfig:
    """The options of a checkpoint's training. folders: run folders whose config.yaml files say where each was set."""
    values = recipe_of(checkpoint, source_of_training(checkpoint)).model_dump(mode="json")
    files = [_read(file) for folder in folders for file in _config_files(folder)]
    options: dict[str, Any] = {}
    found: dict[str, str | None] = {}
    entries: dict[str, None] = {}
    for option, key, value in _leaves(values, "", "", entries):
        if option not in _OF_RUN:
            options[option] = value
            found[option] = next((one.origin(key) for one in files if one.has(key, value)), None)
    return RunConfig(options, found, entries)


def config_differences(configs: Sequence[RunConfig]) -> list[ConfigDifference]:
    """The options that differ, in the order of the first run's. An entry that a run lacks is one row, with what was
    set in it elsewhere."""
    options = dict.fromkeys(option for config in configs for option in config.options)
    entries = dict.fromkeys(entry for config in configs for entry in config.entries)
    lacking = [entry for entry in entries if any(entry not in config.entries for config in configs)]
    found: dict[str, ConfigDifference] = {}
    for option in options:
        entry = next((one for one in lacking if option.startswith(f"{one}.")), None)
        if entry is not None:
            held = tuple(config.set_in(entry) for config in configs)
            found.setdefault(entry, ConfigDifference(entry, held, tuple(None for _ in configs)))
            continue
        values = tuple(config.options.get(option) for config in configs)
        if any(value != values[0] for value in values):
            origins_of = tuple(config.origins.get(option) for config in configs)
            found[option] = ConfigDifference(option, values, origins_of)
    return list(found.values())


@dataclass(frozen=True)
class _File:
    """A config.yaml: its values, the line of each key, and the lines."""

    values: Any
    lines_of: Mapping[str, int]
    lines: Sequence[str]

    def has(self, key: str, value: Any) -> bool:
        return any(self._keys_of(key)) and bool(value_at(self.values, key) == value)

    def origin(self, key: str) -> str:
        """What the comment behind the value says; of a list of entries, the first that is no default."""
        said = map(self._said_at, self._keys_of(key))
        return next((origin for origin in said if origin != DEFAULT), DEFAULT)

    def _keys_of(self, key: str) -> Iterator[str]:
        """The keys that have a line of their own: the key itself, or those of the entries below it."""
        if key in self.lines_of:
            yield key
        yield from (one for one in self.lines_of if one.startswith(f"{key}."))

    def _said_at(self, key: str) -> str:
        line = self.lines[self.lines_of[key] - 1]
        # Of another version's file the value may be spelled in another way.
        said = line.partition(f": {inline(value_at(self.values, key))}  # ")[2] or line.partition("  # ")[2]
        return said.strip() or DEFAULT


def _config_files(folder: Path) -> list[Path]:
    """The newest first: a run that was continued has several."""
    numbered = [(0, file) for file in folder.glob("config.yaml")]
    for file in folder.glob("config_*.yaml"):
        number = file.stem.removeprefix("config_")
        if number.isdecimal():
            numbered.append((int(number), file))
    return [file for _, file in sorted(numbered, reverse=True)]


def _read(file: Path) -> _File:
    try:
        tree = read_file(file, "")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (UserError, OSError, UnicodeError) as error:
        warn(f"{file} does not say where options were set: {error}")
        return _File({}, {}, [])
    numbers = {key: int(origin.rpartition(":")[2] or 0) for key, origin in origins(Node(tree.value, "")).items()}
    return _File(plain(tree), numbers, lines)


def _leaves(value: Any, option: str, key: str, entries: dict[str, None]) -> Iterator[tuple[str, str, Any]]:
    """(option as shown, key with numbers of entries, value) of everything below. entries: those met are added."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, _below(option, name), _below(key, name), entries)
    elif _has_names(value):
        for number, item in enumerate(value):
            shown = _below(option, item["name"])
            entries[shown] = None
            yield from _leaves(item, shown, _below(key, str(number)), entries)
    else:
        yield option, key, value


def _has_names(value: Any) -> bool:
    """Whether it is a list of entries that have each its own name."""
    if not isinstance(value, list) or not value:
        return False
    names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
