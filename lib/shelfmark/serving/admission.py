"""Which requests are taken, so that those which are taken are answered in time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shelfmark.serving.refusals import busy

_NEWEST_WEIGHT = 0.1


class Admission:
    """Counts the pictures under way. A request is refused when there are `queue` of them, or so many that its answer
    would take longer than `queue_s`, as the latest answers tell. The first request, and `always` pictures, are taken.

    The seconds that a picture costs are those from a request's beginning to its answer, divided by the pictures that
    were under way. With one request at a time that is the whole latency; under load it approaches the inverse of the
    throughput, so the limit settles where the wait is queue_s.
    """

    def __init__(self, queue: int, queue_s: float, always: int = 4) -> None:
        self.queue, self.queue_s, self.always = queue, queue_s, always
        self.under_way = 0
        self.seconds_each = 0.0

    @property
    def limit(self) -> int:
        """How many pictures may be under way now."""
        in_time = math.inf if not self.seconds_each else self.queue_s / self.seconds_each
        return int(min(self.queue, max(in_time, self.always)))

    @property
    def is_full(self) -> bool:
        """Whether even one more picture would be refused: known before a body is read."""
        return self.under_way >= self.limit

    @contextmanager
    def taken(self, pictures: int) -> Iterator[None]:
        """The request is under way inside the block. Raises `Refused` (503)."""
        if self.under_way and self.under_way + pictures > self.limit:
            raise busy(self.retry_after_s)
        self.under_way += pictures
        ahead, started = self.under_way, time.monotonic()
        try:
            yield
            self._learn((time.monotonic() - started) / ahead)
        finally:
            self.under_way -= pictures

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which what is under way now is answered."""
        return max(1, math.ceil(self.under_way * self.seconds_each))

    def _learn(self, seconds: float) -> None:
        before = self.seconds_each or seconds
        self.seconds_each = before + _NEWEST_WEIGHT * (seconds - before)
