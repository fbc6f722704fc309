"""What a word of a command line that no option is was most likely meant to be."""

from __future__ import annotations

from collections.abc import Sequence

from shelfmark.config.common_words import WORDS, folded
from shelfmark.core.errors import did_you_mean

_IN_BRACKETS = {"losses.0.name": "losses=[{{name: {value}}}]"}

_BY_OWN_NAME = {
    target.rpartition(".")[2]: target
    for targets in WORDS.values()
    for target in targets
    if "." in target and not target.endswith((".name", ".type"))
}
"""`lr` is a word for optim.lr too."""


def hint(word: str, following: str, flags: Sequence[str]) -> str:
    """A flag, or an option of the config with its value. '' where nothing is near.

    word: as it was typed, `--lr=0.1` or `--lr`. following: the next word, which may be its value. flags: of the
    command, those of 2020 among them.
    """
    name, equals, value = word.partition("=")
    if not name.startswith("-"):
        return ""
    value = value if equals else following if following and not following.startswith("-") else "..."
    for flag in flags:
        if folded(flag) == folded(name):
            return flag
    own = _BY_OWN_NAME.get(folded(name))
    for target in WORDS.get(folded(name), (own,) if own else ()):
        if target in flags:
            return target
        if not target.startswith("--"):
            return _IN_BRACKETS.get(target, f"{target}={{value}}").format(value=value)
    return did_you_mean(name, flags) or ""
