"""What the user is told of a flag, in the words that several dialects share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from shelfmark.migrate.command import shell_word
from shelfmark.migrate.values import Values

Note = Callable[[str, Values], str]

INERT = "no effect in the original"
LACKS = "nothing like it here"
NEEDLESS = "not needed"

UNUSED = f"{INERT}: it reads the flag and does not use it."
OF_SPEED = f"{INERT}: the flag is for speed alone."
IN_CHECKPOINT = f"{NEEDLESS}: the checkpoint says it."
DIAGNOSTIC = f"{LACKS}: it measures features during training; `shelfmark embed` writes the features to measure."


def about_checkpoints(text: str, values: Values) -> str:
    return "--RESUME_MODEL reads checkpoints of Shelfmark only; name one in place of this file." if text else ""


def unless_typed(usual: str | tuple[str, ...], note: str) -> Note:
    """A note on every value but the usual one, or ones."""
    return lambda text, values: "" if text in ((usual,) if isinstance(usual, str) else usual) else note


def unless(holds: Callable[[Values], bool], note: str) -> Note:
    """A note where the values of other flags leave the flag without effect."""
    return lambda text, values: "" if holds(values) else note


def prepare_note(what: str, folder: PurePosixPath) -> str:
    return f"the data, once: shelfmark prepare {what} --source {shell_word(str(folder))}"
