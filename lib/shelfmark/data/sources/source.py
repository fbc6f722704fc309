"""The interface of a source of pictures. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from shelfmark.core.errors import UserError
from shelfmark.data.boxes import Crop


class ImageSource(Protocol):
    """N pictures, by their rows 0..N-1. A source is pickled to the reading processes, so it must hold no open file."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The bytes of the picture's file. Raises UnreadableImage; a file that is too large is refused unread.

        Several processes call it at once.
        """
        ...

    def name(self, row: int) -> str:
        """The picture's name in messages: the path of its file, or the name of an upload; and its box."""
        ...

    def crop(self, row: int) -> Crop | None:
        """The part of the file's picture that is the picture of the row; None for the whole."""
        ...

    def identity(self, row: int) -> str:
        """The same text for two rows of one picture and box; for files see `data.identity`."""
        ...


@runtime_checkable
class FetchingSource(Protocol):
    """A source whose pictures come through a library with threads of its own, several in one request.

    A process that has used it is never forked: its readers are started anew.
    """

    def fetch(self, rows: Sequence[int]) -> None:
        """Asks for the pictures of some rows, which are read next."""
        ...


class Picture(NamedTuple):
    """One picture of a source: what a report shows. It is read when it is drawn."""

    source: ImageSource
    row: int


class UnreadableImage(UserError):  # noqa: N818
    """A picture could not be read. `reason` comes from a short list, so that failures can be counted by it."""

    def __init__(self, path: str, reason: str, advice: str = "Repair it or take it out of the annotations") -> None:
        super().__init__(f"{path} could not be read: {reason}. {advice}, or set data.on_bad_image=skip.")
        self.path = path
        self.reason = reason
        self.advice = advice

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str, str]]:
        # Otherwise pickle, which brings the exception back from a loader process, would rebuild it from its text alone.
        return type(self), (self.path, self.reason, self.advice)


def require_bytes(data: bytes, name: str) -> bytes:
    """`data`, unless there is none."""
    if not data:
        raise UnreadableImage(name, "empty file")
    return data
