"""What an unknown key of a configuration was most likely meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from shelfmark.config.common_words import options_meant
from shelfmark.config.shape import Shape
from shelfmark.core.errors import LIKE, did_you_mean

_NEARLY_THE_SAME = 0.85
_LEAST_BEGINNING = 3
_ELSEWHERE = 0.75
"""How alike a name of another group has to be: `plots` is not `lists`."""
_SELDOM_SET = "discovery."


def keys_meant(prefix: str, leaf: str, siblings: Sequence[str], everywhere: Mapping[str, Shape]) -> list[str]:
    """The keys that an unknown key may stand for. Tried in turn: nearly the same name in this group, a common word for
    an option of this group, a name in this group that has it as a word, a common word for any option, the same name in
    another group, a name in this group that is a part of it, or of which it is the beginning, a similar name in this
    group, a similar name in any group, a description that has its words. Of keys in several groups those come first
    that most runs set.

    prefix: the key of the group that holds it. siblings: the names in that group. everywhere: all keys.
    """
    by_likely_use = sorted(everywhere, key=_rarity)

    def named(name: str | None) -> list[str]:
        return [key for key in by_likely_use if name and key.rpartition(".")[2].lower() == name.lower()]

    def here(cutoff: float) -> list[str]:
        near = did_you_mean(leaf, siblings, cutoff)
        return [f"{prefix}.{near}" if prefix else near] if near else []

    def longer() -> list[str]:
        return [f"{prefix}.{name}" for name in siblings if prefix and leaf.lower() in name.split("_")]

    def shorter() -> list[str]:
        parts = [name for name in siblings if prefix and f"_{name}_" in f"_{leaf.lower()}_"]
        return [f"{prefix}.{max(parts, key=len)}"] if parts else []

    def begun() -> list[str]:
        is_long = prefix and len(leaf) >= _LEAST_BEGINNING
        return [f"{prefix}.{name}" for name in siblings if is_long and name.startswith(leaf.lower())]

    common = by_common_word(prefix, leaf, siblings, everywhere)
    told = re.compile(rf"{re.escape(leaf.lower().replace('_', ' '))}\b")
    candidates = (
        here(LIKE if f"{prefix}.".startswith(_SELDOM_SET) else _NEARLY_THE_SAME),
        [key for key in common if prefix and key.startswith(f"{prefix}.")],
        longer(),
        common,
        named(leaf),
        shorter(),
        begun(),
        here(LIKE),
        named(did_you_mean(leaf, sorted({key.rpartition(".")[2] for key in everywhere}), _ELSEWHERE)),
        [key for key in by_likely_use if told.match(everywhere[key].description.lower())],
    )
    return next((_likely(found)[:3] for found in candidates if found), [])


def by_common_word(prefix: str, leaf: str, siblings: Sequence[str], everywhere: Iterable[str]) -> list[str]:
    """What a word of other programs stands for: in the group that holds it, else anywhere."""
    typed = f"{prefix}.{leaf}" if prefix else leaf
    # An option of some losses is none of every loss.
    meant = [key for key in options_meant(leaf, everywhere) if key != typed and not _is_lacking(key, prefix, siblings)]
    inside = [key for key in meant if prefix and key.startswith(f"{prefix}.")]
    # Every group may have a `name`.
    leaves = [name for key in meant if (name := key.rpartition(".")[2]) in siblings and name != "name"]
    return inside or [f"{prefix}.{name}" for name in leaves if prefix] or meant


def _is_lacking(key: str, prefix: str, siblings: Sequence[str]) -> bool:
    group, _, name = key.rpartition(".")
    return bool(prefix) and group == prefix and name not in siblings


def _rarity(key: str) -> tuple[bool, int, bool]:
    """Sorts keys: those of every run first, then by depth; a run's length and batch before those of its evaluation."""
    return key.startswith(_SELDOM_SET), key.count("."), not key.startswith("train.")


def _likely(keys: list[str]) -> list[str]:
    """Without the seldom set keys, where there are others."""
    return [key for key in keys if not key.startswith(_SELDOM_SET)] or keys
