"""Which requests are taken, with a clock that the test turns."""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager

import pytest

from shelfmark.serving import admission
from shelfmark.serving.admission import Admission
from shelfmark.serving.refusals import Refused


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    return now


def test_the_queue_is_bounded_and_says_when_to_ask_again(clock):
    gate = Admission(queue=3, queue_s=100)
    with gate.taken(2), gate.taken(1):
        assert gate.is_full
        with pytest.raises(Refused) as refused, gate.taken(1):
            pass
    assert (refused.value.status, refused.value.code, refused.value.headers) == (503, "busy", {"retry-after": "1"})
    assert gate.under_way == 0


def test_a_request_of_more_pictures_than_the_queue_is_taken_where_nothing_is_under_way(clock):
    gate = Admission(queue=3, queue_s=100)
    with gate.taken(5), pytest.raises(Refused), gate.taken(1):
        pass


def test_the_limit_settles_where_the_wait_is_as_long_as_allowed(clock):
    """Each picture takes 20 ms of the only worker, so 0.5 s are 25 pictures, however many could wait."""
    gate = Admission(queue=1000, queue_s=0.5)
    waiting: deque[AbstractContextManager[None]] = deque()
    waits = []
    for _ in range(300):
        while not waiting or not gate.is_full:
            waiting.append(gate.taken(1))
            waiting[-1].__enter__()
            if not gate.seconds_each:
                break
        waits.append(0.02 * len(waiting))
        clock[0] += 0.02
        waiting.popleft().__exit__(None, None, None)
    assert 24 <= gate.limit <= 26
    assert max(waits) <= 0.54


def test_a_failure_teaches_nothing(clock):
    gate = Admission(queue=10, queue_s=0.5)

    def fail() -> None:
        with gate.taken(1):
            clock[0] += 100
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert gate.seconds_each == 0
    assert (gate.limit, gate.under_way) == (10, 0)


def test_after_very_slow_pictures_a_few_are_still_taken(clock):
    gate = Admission(queue=10, queue_s=0.5, always=4)
    with gate.taken(1):
        clock[0] += 30
    assert gate.limit == 4
    with gate.taken(1), pytest.raises(Refused) as refused, gate.taken(9):
        pass
    assert refused.value.headers == {"retry-after": "30"}
