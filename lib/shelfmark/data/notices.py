"""What is told of pictures as they are read: the first of each kind, once in a run, whichever process reads it."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.data import get_worker_info

from shelfmark.core.log import warn

Notice = tuple[str, str]
"""A kind, and the sentence about the first picture of that kind."""


class Notices:
    """The kinds that are told. A worker of a loader is quiet: the process that reads its batches tells of them."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()
        self._found: list[Notice] = []

    def tell(self, kind: str, sentence: str) -> None:
        """A warning with the sentence, unless the kind is told already."""
        if kind in self._kinds:
            return
        self._kinds.add(kind)
        if get_worker_info() is None:
            warn(sentence)
        else:
            self._found.append((kind, sentence))

    def found(self) -> tuple[Notice, ...]:
        """What a worker found since it was asked before."""
        found, self._found = tuple(self._found), []
        return found

    def tell_all(self, notices: Iterable[Notice]) -> None:
        """Those that a worker found."""
        for kind, sentence in notices:
            self.tell(kind, sentence)


NOTICES = Notices()
"""Those of this process."""
