from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from shelfmark.retrieval.mutual.threads import in_threads


@pytest.fixture(params=[1, 3])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(num_threads: int) -> None:
    last_done = threading.Event()

    def work(item: int) -> int:
        # With several threads the first waits for the last.
        if item == 0 and num_threads > 1:
            assert last_done.wait(timeout=30)
        if item == 2:
            last_done.set()
        return item * item

    assert list(in_threads(work, [0, 1, 2])) == [0, 1, 4]
    assert list(in_threads(work, [])) == []


def test_torch_has_one_thread_within_the_work_and_the_same_as_before_after_it(num_threads: int) -> None:
    found: list[int] = []
    assert list(in_threads(lambda item: torch.get_num_threads(), range(8))) == [1] * 8
    assert torch.get_num_threads() == num_threads
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [num_threads]


def test_an_error_of_the_work_reaches_the_caller_and_threads_are_as_before(num_threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [1, 0, 2]))
    assert torch.get_num_threads() == num_threads
