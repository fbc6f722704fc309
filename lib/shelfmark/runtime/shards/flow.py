"""Features in shards, from the plan to the whole folder. Legend: n rows, D embedding."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import BadImage, Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import MANIFEST
from shelfmark.core.heartbeat import beat
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.stopping import Stopped
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import are, counted
from shelfmark.data.image_bar import image_bar
from shelfmark.evaluation.extract import extract
from shelfmark.runtime.feature_work import FeatureWork, in_one_go
from shelfmark.runtime.image_pass import ImagePass
from shelfmark.runtime.shards.plan import PLAN, Plan, discard, plan_in, require_seen
from shelfmark.runtime.shards.shard import OfAnotherPlanError, Shard, read_shard
from shelfmark.runtime.shards.team import Team, own_processes

SHARD_IMAGES = 32_768
"""Half a minute of a GPU, half an hour of a few cores: as much is lost when an embedding is killed."""
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class InShards:
    """A runner (`FeatureWork`) that keeps each shard as soon as it is whole, and goes on behind a stop or a kill.

    most_rows: images of a shard, rounded up to whole batches. A list that has no more of them makes no shards.
    team: opens who makes them. always: makes shards of any list.
    """

    most_rows: int = SHARD_IMAGES
    team: Callable[[ImagePass], AbstractContextManager[Team]] = own_processes
    always: bool = False

    def __call__(self, work: FeatureWork) -> Embeddings:
        place = shards_of(work.folder)
        if not from_main(lambda: self.always or len(work.table) > self.most_rows or (place / PLAN).is_file()):
            return in_one_go(work)
        with ExitStack() as opened:
            from_main(lambda: opened.enter_context(folder_lock(place, "embedding")))
            team = opened.enter_context(self.team(work.images))
            plan = from_main(lambda: _plan(place, work, self.most_rows, team.size))
            try:
                _make(plan, work, team)
            except Stopped as stopped:
                kept = f"the shards that are whole are kept in {place}; the same command makes the others"
                raise Stopped(stopped.number, kept) from None
            features = extract(
                _joined(plan) if dist.is_main() else (), work.table, work.folder, manifest={"facts": work.facts}
            )
            from_main(lambda: discard(place))
        return features


def shards_of(folder: Path) -> Path:
    """Where the shards of a folder of features are, until it is whole."""
    return folder.with_name(f"{folder.name}_shards")


def discard_shards(folder: Path) -> None:
    """Removes the shards of whole features, which a kill has left."""
    discard(shards_of(folder))


def _plan(place: Path, work: FeatureWork, most_rows: int, num_workers: int) -> Plan:
    images = work.images
    # The last bits of a network's output depend on the other images of the batch.
    facts = {**work.facts, "data.on_bad_image": images.on_bad_image, "eval.batch_size": images.batch_size}
    return plan_in(place, facts, len(work.table), most_rows, work.images.batch_size, num_workers)


def _make(plan: Plan, work: FeatureWork, team: Team) -> None:
    """Makes the shards that are not there."""
    with together():
        require_seen(plan.place / PLAN)
    missing = from_main(lambda: _missing(plan, work), "looking for shards")
    done = plan.num_rows - sum(len(plan.rows(number)) for number in missing)

    def report(num_images: int) -> None:
        nonlocal done
        done = min(done + num_images, plan.num_rows)
        show(done)

    with work.bad_images.over_ranks(), image_bar("embedding", plan.num_rows, done) as show:
        team.make(plan, missing, work, report)


def _missing(plan: Plan, work: FeatureWork) -> list[int]:
    """The shards to make; damaged ones are removed. The images that others could not read are counted again."""
    missing, unread = list[int](), list[BadImage]()
    for number in range(len(plan)):
        shard = _whole_shard(plan, number)
        if shard is None:
            missing.append(number)
        else:
            unread.extend(shard.unread)
    num_done = len(plan) - len(missing)
    told = f"{counted(plan.num_rows, 'image')} in {counted(len(plan), 'shard')} of {plan.shard_rows:,}"
    say(f"{told}; {num_done} {are(num_done)} done" if num_done else told)
    work.bad_images.add(unread)
    return missing


def _whole_shard(plan: Plan, number: int) -> Shard | None:
    """A shard that was made; None if there is none. One that is damaged is told and removed."""
    folder = plan.folder(number)
    if not folder.exists():
        return None
    try:
        return read_shard(plan, number)
    except OfAnotherPlanError:
        raise
    except UserError as error:
        warn(f"{error} The shard is made anew")
        shutil.rmtree(folder)
        return None


def _joined(plan: Plan) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Rows (n,) and features (n, D) of all shards, in the order of the list."""
    for number in range(len(plan)):
        require_seen(plan.folder(number) / MANIFEST)
        shard = read_shard(plan, number)
        for start in range(0, len(shard.rows), _ROWS_AT_ONCE):
            beat("joining shards")
            rows = slice(start, start + _ROWS_AT_ONCE)
            yield shard.rows[rows], torch.from_numpy(np.array(shard.features[rows]))
