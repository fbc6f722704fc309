"""Notices about pictures, told once in a run, by the process that talks to the user."""

from __future__ import annotations

from collections.abc import Iterable

from shelfmark.core.log import warn
from shelfmark.data.notices import NOTICES, Notice


def tell_notices(notices: Iterable[Notice] | None = None) -> None:
    """A warning for each kind that was not told before. notices: of a worker; None for those of this process."""
    for sentence in NOTICES.untold(NOTICES.found() if notices is None else notices):
        warn(sentence)
