"""Options that had another name: one table. A former name goes on to work, in files, overrides and checkpoints.

Whoever renames an option adds its line here, and raises FORMAT_VERSION of `engine/checkpoint_versions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from shelfmark.config.errors import ConfigError, shown
from shelfmark.config.nodes import Node, node_of, place_in_list, plain
from shelfmark.config.overrides import Override
from shelfmark.core.log import remark


@dataclass(frozen=True)
class Renamed:
    """former: dotted; `*` stands for the number of a list's entry. name: the present name of its last part.

    values: former to present name of each value that was renamed too.
    """

    former: str
    name: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def present(self) -> str:
        """The present name, dotted."""
        return f"{self.former.rpartition('.')[0]}.{self.name}"


RENAMED = (
    Renamed("sampling.visits", "class_weighting", {"equal": "uniform", "by_images": "by_count"}),
    Renamed("optim.head_lr_factor", "non_backbone_lr_factor"),
    Renamed("train.stages.*.update_batch_norm", "adapt_frozen_bn_statistics"),
)

_BY_FORMER = {one.former: one for one in RENAMED}
_Tell = Callable[[str], None]


def present_tree(tree: Node) -> Node:
    """A file's tree with present names; each former name is told once. ConfigError: an option has both its names."""
    return _present(tree, (), _told_once)


def present_overrides(overrides: Iterable[Override]) -> list[Override]:
    """Overrides with present names; each former name is told once. ConfigError: an option has both its names."""
    found, former = [], {}
    for override in overrides:
        one = _override(override, _told_once)
        if one.key != override.key:
            former[one.key] = override
        found.append((override, one))
    for override, one in found:
        if one.key in former and override.key == one.key:
            raise ConfigError([_both(former[one.key].origin, override.origin, former[one.key].key, one.key)])
    return [one for _, one in found]


def present_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a checkpoint or a stage noted, by name or dotted name, with their present names."""
    ours = (_override(Override(key, value, ""), lambda line: None) for key, value in options.items())
    return {one.key: one.value for one in ours}


def present_key(key: str) -> str:
    """A dotted key of an option with its present name; a former name is told once."""
    return _override(Override(key, None, key), _told_once).key


def _override(override: Override, tell: _Tell) -> Override:
    parts = override.key.split(".")
    places: list[str] = []
    value = node_of(override.value, override.origin)
    for index, part in enumerate(parts):
        places.append("*" if place_in_list(part) is not None else part)
        if rule := _BY_FORMER.get(".".join(places)):
            parts[index] = places[-1] = rule.name
            value = _renamed(rule, value, tell)
    value = _present(value, tuple(places), tell)
    return replace(override, key=".".join(parts), value=plain(value))


def _present(node: Node, places: tuple[str, ...], tell: _Tell) -> Node:
    if isinstance(node.value, list):
        return Node([_present(item, (*places, "*"), tell) for item in node.value], node.origin)
    if not isinstance(node.value, dict):
        return node
    group: dict[str, Node] = {}
    for key, item in node.value.items():
        rule = _BY_FORMER.get(".".join((*places, key)))
        if rule:
            if rule.name in node.value:
                raise ConfigError([_both(item.origin, node.value[rule.name].origin, rule.former, rule.present)])
            key, item = rule.name, _renamed(rule, item, tell)
        group[key] = _present(item, (*places, key), tell)
    return Node(group, node.origin)


def _renamed(rule: Renamed, node: Node, tell: _Tell) -> Node:
    value = node.value
    if isinstance(value, str):
        value = rule.values.get(value, value)
    now = rule.present if value == node.value else f"{rule.present}={shown(value)}"
    tell(f"{node.origin}: {rule.former} is now {now}; the former name still works.")
    return Node(value, node.origin)


def _both(former: str, present: str, former_name: str, present_name: str) -> str:
    return f"{former}: {former_name} is the former name of {present_name}, which {present} sets too; leave one out."


@cache
def _told_once(line: str) -> None:
    # A command reads its options several times.
    remark(line)
