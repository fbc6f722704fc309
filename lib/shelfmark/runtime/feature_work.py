"""A pass whose features go to a folder: what is to be done, whoever does it. Legend: N images, n rows, V views."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core.contracts import Embeddings
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.evaluation.extract import extract
from shelfmark.runtime.image_pass import ImagePass


@dataclass(frozen=True)
class FeatureWork:
    """images: the pass over the table's pictures. folder: where the features go. facts: all that determines them.

    bad_images: counts and lists the pictures that cannot be read. report: called with the number of images of each
    batch of this process.
    """

    images: ImagePass
    table: Table
    folder: Path
    facts: Mapping[str, Any]
    bad_images: BadImageLog
    report: Callable[[int], None] | None = None


Runner = Callable[[FeatureWork], Embeddings]
"""Does the work, in all processes that call it together, and returns what is in the folder then."""


def in_one_go(work: FeatureWork) -> Embeddings:
    """The runner whose processes fill one folder. What is not finished leaves nothing."""
    share = ((batch.rows, vectors(work.images, batch.values)) for batch in work.images.share(work.bad_images))
    with work.bad_images.over_ranks():
        return extract(share, work.table, folder=work.folder, manifest={"facts": work.facts}, report=work.report)


def vectors(images: ImagePass, values: Tensor) -> Tensor:
    """(n, D), as they are stored, of what a pass yields: the several views of a backbone's features side by side, of
    other views the mean of the unit vectors."""
    if images.output == "backbone":
        return values.flatten(1)
    return values if values.dim() < 3 else normalize(values.float(), dim=2).mean(dim=1)
