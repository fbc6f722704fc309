"""What is wrong in the files of a data set: gone through to the end, and told in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.wording import are, counted
from shelfmark.data.converters.pictures import NUM_SHOWN
from shelfmark.data.sources import UnreadableImage

MEND = "Correct or remove what is named here, and run the command again."


class WrongPlaces:
    """Texts that each name a file, the line or record in it, and what is wrong there. Only those that are shown are
    kept: a file in another form than was said is wrong in every line."""

    def __init__(self) -> None:
        self.number = 0
        self._first: list[str] = []

    def add(self, text: str) -> None:
        self.number += 1
        if len(self._first) < NUM_SHOWN:
            self._first.append(text)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """A block that ends at the first thing wrong in it, and the work goes on behind it."""
        try:
            yield
        except UnreadableImage as error:
            self.add(f"{error.path} could not be read: {error.reason}")
        except UserError as error:
            self.add(str(error))

    def settle(self, source: Path, advice: str = MEND, notes: Iterable[str] = ()) -> None:
        """Raises a UserError with the first of all that was added; does nothing where nothing was.

        notes: what would only be told of the rest, were nothing wrong.
        """
        if not self.number:
            return
        told = [f"  besides, no mistake: {note}" for note in notes]
        if self.number == 1:
            raise UserError("\n".join([f"{self._first[0]} {advice}", *told]))
        lines = [f"{source}: {counted(self.number, 'place')} {are(self.number)} wrong, and nothing was written."]
        lines += [f"  {text}" for text in self._first]
        if more := self.number - len(self._first):
            lines.append(f"  and {more:,} more")
        raise UserError("\n".join([*lines, *told, advice]))
