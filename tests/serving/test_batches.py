"""Batches, by a model that notes what it is given."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from shelfmark.serving.batcher import Batcher, Outputs

WAIT_S = 60.0


class Model:
    """Notes the size of each batch, and waits for `go` in each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()

    def run(self, pixels: np.ndarray) -> Outputs:
        self.sizes.append(len(pixels))
        assert self.go.wait(WAIT_S)
        if pixels.max() == 255:
            raise ValueError("a picture that no model likes")
        return {"embedding": pixels[:, 0, 0, :1].astype(np.float32) * 2}


def pictures(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def with_batcher(
    work: Callable[[Batcher, Model], Awaitable[None]], batch: int = 4, wait_s: float = WAIT_S, to_come: bool = False
) -> None:
    async def run() -> None:
        model = Model()
        batcher = Batcher(model.run, batch, wait_s, lambda: to_come)
        try:
            async with asyncio.timeout(WAIT_S):
                await work(batcher, model)
        finally:
            model.go.set()
            await batcher.close()

    asyncio.run(run())


async def begun(batcher: Batcher, model: Model) -> asyncio.Task[Outputs]:
    """A picture that keeps the model busy."""
    first = asyncio.create_task(batcher.outputs(pictures(1)))
    while not model.sizes:
        await asyncio.sleep(0.001)
    return first


def test_what_comes_while_the_model_is_busy_goes_together_and_each_gets_its_own():
    async def work(batcher: Batcher, model: Model) -> None:
        first = await begun(batcher, model)
        others = [asyncio.create_task(batcher.outputs(pictures(*values))) for values in ((2,), (3, 4), (5, 6))]
        await asyncio.sleep(0.01)
        model.go.set()
        assert (await first)["embedding"].tolist() == [[2]]
        assert [(await one)["embedding"].ravel().tolist() for one in others] == [[4], [6, 8], [10, 12]]
        # The third does not fit into a batch of four, and is not divided.
        assert model.sizes == [1, 3, 2]

    with_batcher(work)


def test_a_request_of_more_pictures_than_a_batch_is_divided_and_put_together():
    async def work(batcher: Batcher, model: Model) -> None:
        model.go.set()
        assert (await batcher.outputs(pictures(*range(10))))["embedding"].ravel().tolist() == list(range(0, 20, 2))
        assert model.sizes == [4, 4, 2]

    with_batcher(work)


def test_a_picture_alone_does_not_wait_where_none_is_being_decoded():
    async def work(batcher: Batcher, model: Model) -> None:
        model.go.set()
        await batcher.outputs(pictures(1))

    with_batcher(work, wait_s=10 * WAIT_S)


def test_a_batch_waits_for_a_picture_that_is_being_decoded():
    async def work(batcher: Batcher, model: Model) -> None:
        model.go.set()
        both = [asyncio.create_task(batcher.outputs(pictures(1)))]
        await asyncio.sleep(0.02)
        both.append(asyncio.create_task(batcher.outputs(pictures(2))))
        await asyncio.gather(*both)
        assert model.sizes == [2]

    with_batcher(work, batch=2, to_come=True)


def test_a_batch_waits_no_longer_than_its_time():
    async def work(batcher: Batcher, model: Model) -> None:
        model.go.set()
        await batcher.outputs(pictures(1))
        assert model.sizes == [1]

    with_batcher(work, wait_s=0.01, to_come=True)


def test_a_batch_that_fails_fails_for_its_own_requests_alone():
    async def work(batcher: Batcher, model: Model) -> None:
        model.go.set()
        with pytest.raises(ValueError, match="no model likes"):
            await batcher.outputs(pictures(255))
        assert (await batcher.outputs(pictures(7)))["embedding"].tolist() == [[14]]

    with_batcher(work)


def test_a_request_that_was_given_up_leaves_the_others_alone():
    async def work(batcher: Batcher, model: Model) -> None:
        first = await begun(batcher, model)
        given_up = asyncio.create_task(batcher.outputs(pictures(2)))
        other = asyncio.create_task(batcher.outputs(pictures(3)))
        await asyncio.sleep(0.01)
        given_up.cancel()
        model.go.set()
        await first
        assert (await other)["embedding"].tolist() == [[6]]

    with_batcher(work)
