"""Which images each shard has, and all that determines their features. Legend: N images."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shelfmark.core.artefact import listed
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_json
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import say
from shelfmark.core.manifests import read_manifest, write_manifest
from shelfmark.core.places import remove_litter
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.core.wording import counted
from shelfmark.runtime.stored_features import feature_differences

PLAN, FORMAT_VERSION = "plan.json", 2
SEEN_WITHIN_S = 90.0
"""As long may a network disk take to show a machine what another one wrote."""


@dataclass(frozen=True)
class Plan:
    """place: the folder of the shards. num_rows: N. facts: as of the features, with `data.on_bad_image` and
    `eval.batch_size`."""

    place: Path
    num_rows: int
    shard_rows: int
    facts: Mapping[str, Any]

    def __len__(self) -> int:
        return -(-self.num_rows // self.shard_rows)

    @cached_property
    def sha256(self) -> str:
        """The same text for plans of the same shards, wherever they lie."""
        return sha256_json([self.num_rows, self.shard_rows, self.facts])

    def rows(self, number: int) -> range:
        """The rows of a shard, of the N."""
        start = number * self.shard_rows
        return range(start, min(start + self.shard_rows, self.num_rows))

    def folder(self, number: int) -> Path:
        """Where a shard is, or will be."""
        return self.place / f"{number:05d}"


def plan_in(
    place: Path, facts: Mapping[str, Any], num_rows: int, most_rows: int, batch_size: int, num_workers: int
) -> Plan:
    """The plan in `place`, if it is of the same features; a new one, if there is none.

    most_rows: of a shard of a new plan, rounded up to whole batches. num_workers: the shards divide evenly among them.
    UserError: the plan there is of other features, or `place` holds something else; the message says what differs.
    """
    found = _read(place)
    if found is None:
        plan = Plan(place, num_rows, _even_rows(num_rows, most_rows, batch_size, num_workers), facts)
        write_manifest(
            place / PLAN,
            {"format_version": FORMAT_VERSION, "num_rows": num_rows, "shard_rows": plan.shard_rows, "facts": facts},
        )
        return plan
    differs = feature_differences(found.facts, facts)
    if differs:
        raise UserError(
            f"{place} has the shards of an embedding that was stopped, and they do not fit: {listed(differs)}. Start"
            " that embedding again as it was, give another --out, or remove the folder."
        )
    say(f"going on with the {counted(len(found), 'shard')} of {place}")
    return found


def require_seen(file: Path) -> None:
    """Waits until this machine sees a file that a process has written. UserError: it does not come into sight."""
    until = time.monotonic() + SEEN_WITHIN_S
    while not file.is_file():
        beat("looking for shards")
        raise_if_stopped()
        if time.monotonic() > until:
            raise UserError(
                f"{file}, which a process of this embedding wrote, cannot be seen on {socket.gethostname()}. --out has"
                " to lie in a folder that all machines share, under the same path on each."
            )
        time.sleep(0.2)


def discard(place: Path) -> None:
    """Removes the plan and its shards; files of others stay, and the folder with them."""
    if not (place / PLAN).is_file():
        return
    for folder in place.glob("[0-9]" * 5 + "*"):
        shutil.rmtree(folder, ignore_errors=True)
    remove_litter(place)
    (place / PLAN).unlink()
    with suppress(OSError):
        place.rmdir()


def _read(place: Path) -> Plan | None:
    if not place.is_dir() or not any(not one.name.startswith(".") for one in place.iterdir()):
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}, where shards of the features would be kept, is a file. Give another --out.")
        return None
    if not (place / PLAN).is_file():
        raise UserError(f"{place} exists and holds no shards of ours. Give another --out, or move it away.")
    try:
        told = read_manifest(place / PLAN)
        return Plan(place, int(told["num_rows"]), int(told["shard_rows"]), dict(told["facts"]))
    except UserError as error:
        raise UserError(f"{error} Remove {place}: its images are then embedded anew.") from None


def _even_rows(num_rows: int, most_rows: int, batch_size: int, num_workers: int) -> int:
    """Rows of a shard: whole batches, so that each batch has the images that it has without shards."""
    num_shards = num_workers * -(-num_rows // (most_rows * num_workers))
    return batch_size * -(-num_rows // (num_shards * batch_size))
