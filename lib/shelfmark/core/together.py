"""One end for all processes: what fails in one of them ends as an error in each, and nobody waits for it.

A process that raises between two collectives leaves the others in the next one for ever. So the work of one process,
or of each one's own share, stands in a block, behind which all of them meet once, whatever became of it.
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
    """A block without collectives, which each process runs for its own share; behind it every process goes on, or none.

    Where it raises in some processes it raises in all: a UserError where the first of them by rank raised one, in its
    words; Stopped where a signal ended that one; else each failed process raises its own error, and the others
    FailedElsewhereError. It waits for all, as a barrier does.
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
    """Every process calls it with the error that it met, or None; it raises in all of them or in none."""
    told = None if failed is None else _ForeignError.of(failed)
    try:
        _raise_first(dist.gather_objects(told), failed)
    finally:
        # An error that its own frames know is left to the cyclic garbage collector, and with it the loaders that these
        # frames hold: taken apart in any order, each of their workers waits 5 seconds.
        del failed


def from_main(make: Callable[[], T], phase: str = "") -> T:
    """What `make` returns in the first process, which alone calls it, in every one; its error is raised in all.

    phase: what long work is, as `report`: it does not begin after a signal (`Stopped`), and it counts as going on while
    it computes.
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
    """An error as the other processes learn of it: not each one can be sent. signal: 0 unless it is `Stopped`."""

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
    """Raises as all processes do that know the same errors, in rank order; own: this process's."""
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
