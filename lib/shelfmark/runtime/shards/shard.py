"""One shard on the disk. Legend: n rows, D embedding.

features.f32    (n, D) float32, un-normalised, row behind row
rows.npy        (n,) int64, rising: rows of the list of images
manifest.json   which shard of which plan it is, its images that could not be read, and hashes of the other two files
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shelfmark.core.contracts import BadImage
from shelfmark.core.errors import UserError
from shelfmark.core.folders import MANIFEST, atomic_folder
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest
from shelfmark.data.bad_images import BadImageLog
from shelfmark.evaluation.extract import finite_features
from shelfmark.runtime.feature_work import vectors
from shelfmark.runtime.image_pass import ImagePass
from shelfmark.runtime.shards.plan import FORMAT_VERSION, Plan

FEATURES, ROWS = "features.f32", "rows.npy"


class Shard(NamedTuple):
    """rows: (n,) int64. features: (n, D) float32, mapped from the disk. unread: the other images of the shard."""

    rows: np.ndarray
    features: np.ndarray
    unread: tuple[BadImage, ...]


class OfAnotherPlanError(UserError):
    """A shard is whole, but of other features."""


def make_shard(
    plan: Plan,
    number: int,
    images: ImagePass,
    bad_images: BadImageLog | None = None,
    report: Callable[[int], None] | None = None,
) -> tuple[BadImage, ...]:
    """Passes the images of a shard and writes it, whole or not at all; returns those that could not be read.

    images: the pass over all images of the plan. bad_images: counts the unreadable ones, and ends the pass when they
    are too many. report: called with the number of images of each batch.
    """
    rows, unread, dim = [np.empty(0, np.int64)], list[BadImage](), 0
    with atomic_folder(plan.folder(number), is_ours=lambda _: False) as part:
        with open(part / FEATURES, "wb") as stream:
            for batch in images.share(bad_images, alone=True, rows=plan.rows(number)):
                unread.extend(batch.bad)
                if len(batch.rows):
                    found = finite_features(batch.rows, vectors(images, batch.values), images.source.name)
                    stream.write(np.ascontiguousarray(found, "<f4").tobytes())
                    rows.append(batch.rows)
                    dim = found.shape[1]
                if report:
                    report(len(batch.rows) + len(batch.bad))
        _finish(part, plan, number, np.concatenate(rows), dim, unread)
    return tuple(unread)


def read_shard(plan: Plan, number: int) -> Shard:
    """The shard, once every byte was compared with its manifest.

    UserError: it is damaged, or, as OfAnotherPlanError, made by another model or of other images. Each image of the
    shard has a row or a reason why it has none.
    """
    folder = plan.folder(number)
    told = read_manifest(folder / MANIFEST)
    if (told.get("plan"), told.get("number")) != (plan.sha256, number):
        raise OfAnotherPlanError(
            f"{folder} is a shard of another embedding: another model, other options or another list of images made"
            f" it. Move it away; the same command then makes shard {number} of this one."
        )
    for name in (FEATURES, ROWS):
        check_file(folder / name, told["files"].get(name))
    rows = np.load(folder / ROWS)
    unread = tuple(BadImage(*one) for one in told["unread"])
    accounted = np.sort(np.concatenate([rows, np.asarray([one.row for one in unread], np.int64)]))
    if not np.array_equal(accounted, np.asarray(plan.rows(number))):
        raise UserError(
            f"{folder} does not add up: {len(rows)} images with features and {len(unread)} that could not be read are"
            f" not the {len(plan.rows(number))} images of shard {number}."
        )
    return Shard(rows, _features(folder / FEATURES, len(rows), int(told["dim"])), unread)


def _finish(part: Path, plan: Plan, number: int, rows: np.ndarray, dim: int, unread: Sequence[BadImage]) -> None:
    np.save(part / ROWS, rows)
    files = {FEATURES: file_facts(part / FEATURES, in_blocks=True), ROWS: file_facts(part / ROWS)}
    own = {"plan": plan.sha256, "number": number, "dim": dim, "unread": [list(one) for one in unread], "files": files}
    write_manifest(part / MANIFEST, {"format_version": FORMAT_VERSION, **own})


def _features(file: Path, num_rows: int, dim: int) -> np.ndarray:
    if not num_rows:
        # An empty file cannot be mapped.
        return np.empty((0, dim), np.float32)
    return np.memmap(file, "<f4", "r", shape=(num_rows, dim))
