"""What a source of pictures is. Legend: N pictures."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from shelfmark.core.errors import UserError


class ImageSource(Protocol):
    """N pictures, by their rows 0..N-1. It is pickled to the processes that read, so it holds nothing that is open."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """The picture's bytes, as its file has them. Raises UnreadableImage, before the work for one that is too large.

        It is called in several processes at once.
        """
        ...

    def name(self, row: int) -> str:
        """What a message calls the picture: the path of its file, or the name of an upload."""
        ...

    def identity(self, row: int) -> str:
        """Equal for two rows that are one picture; of a file see `data.identity`."""
        ...


class Picture(NamedTuple):
    """One picture of a source: what a report shows. It is read when it is drawn."""

    source: ImageSource
    row: int


class UnreadableImage(UserError):  # noqa: N818
    """A picture could not be read. `reason` comes from a short list, so that failures can be counted by it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} could not be read: {reason}. Repair it or take it out of the annotations,"
            " or set data.on_bad_image=skip."
        )
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        # An exception is otherwise rebuilt from its text alone when it comes back from a loader process.
        return type(self), (self.path, self.reason)


def require_bytes(data: bytes, name: str) -> bytes:
    """`data`, unless there is none."""
    if not data:
        raise UnreadableImage(name, "empty file")
    return data
