"""What is noticed of pictures as they are read: the first of each kind. It is told elsewhere (`told_notices`), so that
a process which only decodes needs no more than this."""

from __future__ import annotations

from collections.abc import Iterable

Notice = tuple[str, str]
"""A kind, and the sentence about the first picture of that kind."""


class Notices:
    """The notices of one process. A worker of a loader hands on what it found to the process that reads its batches."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._told: set[str] = set()
        self._found: list[Notice] = []

    def add(self, kind: str, sentence: str) -> None:
        """Keeps the sentence, unless there was one of its kind."""
        if kind not in self._known:
            self._known.add(kind)
            self._found.append((kind, sentence))

    def found(self) -> tuple[Notice, ...]:
        """What came since this was asked before."""
        found, self._found = tuple(self._found), []
        return found

    def untold(self, notices: Iterable[Notice]) -> list[str]:
        """The sentences of kinds that were never asked for here, to be told now."""
        sentences = []
        for kind, sentence in notices:
            if kind not in self._told:
                self._told.add(kind)
                # A worker that is forked later need not find it again.
                self._known.add(kind)
                sentences.append(sentence)
        return sentences


NOTICES = Notices()
"""Those of this process."""
