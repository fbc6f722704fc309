"""Errors of one process, raised in all of them.

A process that raises between two collectives would leave the others waiting in the next one. So the work of one
process, or of each process's share, stands in a block. All processes meet at its end, whether the work failed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.heartbeat import working
from shelfmark.core.stopping import Stopped, raise_if_stopped

T = TypeVar("T")


class FailedElsewhereError(RuntimeError):
    """Another process met an error that is no UserError; the traceback is that process's."""


@contextmanager
def together() -> Iterator[None]:
    """A block without collectives, in which each process works on its own share. It waits for all, as a barrier does.

    If some processes fail, all of them raise. The failed process of the lowest rank decides: if it raised a UserError,
    all raise that text; if a signal ended it, all raise Stopped; otherwise each failed process raises its own error,
    and the others FailedElsewhereError.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        failed = error
    try:
        agree(failed)
    finally:
        del failed


def agree(failed: Exception | None) -> None:
    """Every process calls it with its own error, or None; it raises in all processes or in none, see `together`."""
    told = None if failed is None else _ForeignError.of(failed)
    try:
        _raise_first(dist.gather_objects(told), failed)
    finally:
        # A frame that refers to its own error is freed by the cyclic garbage collector alone, and with it the loaders
        # that the error's frames hold. Freed in any order, each loader worker waits 5 seconds.
        del failed


def from_main(make: Callable[[], T], phase: str = "") -> T:
    """The result of `make` in every process. Rank 0 alone calls it; its error is raised in all.

    phase: names long work, such as `report`. Long work does not begin after a signal (`Stopped`), and the watch counts
    it as going on while it computes.
    """
    made: T | None = None
    failed = None
    if dist.is_main():
        try:
            made = _long(make, phase) if phase else make()
        except Exception as error:
            failed = error
    told, made = dist.broadcast_object((None if failed is None else _ForeignError.of(failed), made))
    try:
        _raise_first([told], failed)
    finally:
        del failed
    return made  # type: ignore[return-value]


def _long(make: Callable[[], T], phase: str) -> T:
    raise_if_stopped()
    with working(phase):
        return make()


@dataclass(frozen=True)
class _ForeignError:
    """An error as text, for the other processes: not every exception can be pickled. signal: 0 unless `Stopped`."""

    is_user_error: bool
    text: str
    rank: int
    signal: int = 0

    @classmethod
    def of(cls, error: Exception) -> _ForeignError:
        is_user_error = isinstance(error, UserError)
        signal = error.number if isinstance(error, Stopped) else 0
        text = str(error) if is_user_error else f"{type(error).__name__}: {error}"
        return cls(is_user_error, text, dist.rank(), signal)


def _raise_first(met: Sequence[_ForeignError | None], own: Exception | None) -> None:
    """Raises what `together` says. met: all processes' errors, in rank order. own: that of this process."""
    first = next((one for one in met if one is not None), None)
    try:
        if first is None:
            return
        if first.signal and not (own is not None and first.rank == dist.rank()):
            raise Stopped(first.signal) from own
        if own is not None and (first.rank == dist.rank() or not first.is_user_error):
            raise own
        if first.is_user_error:
            raise UserError(first.text) from own
        raise FailedElsewhereError(f"process {first.rank} failed: {first.text}. Its own message says where.")
    finally:
        del own
