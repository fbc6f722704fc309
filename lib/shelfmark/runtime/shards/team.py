"""Who makes the shards: the processes of the command itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from shelfmark.core import dist
from shelfmark.runtime.feature_work import FeatureWork
from shelfmark.runtime.image_pass import ImagePass
from shelfmark.runtime.shards.plan import Plan
from shelfmark.runtime.shards.shard import make_shard

MakeShards = Callable[[Plan, Sequence[int], FeatureWork, Callable[[int], None]], None]


class Team(NamedTuple):
    """size: how many shards are made at a time. make: (plan, numbers of shards, work, report) makes these shards.

    report is called with a number of images, of all that the team has done. What could not be read goes to the work's
    `bad_images` too, which ends the work if it is too much.
    """

    size: int
    make: MakeShards


@contextmanager
def own_processes(images: ImagePass) -> Iterator[Team]:
    """Each process of this command, on one machine or several, makes its part of the shards."""
    yield Team(dist.world_size(), _make_mine)


def _make_mine(plan: Plan, numbers: Sequence[int], work: FeatureWork, report: Callable[[int], None]) -> None:
    def of_all(num_images: int) -> None:
        # The others have done as many, but for a batch.
        report(num_images * dist.world_size())

    for number in numbers[dist.rank() :: dist.world_size()]:
        make_shard(plan, number, work.images, work.bad_images, of_all)
