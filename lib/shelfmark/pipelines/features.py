"""Features once: every later score, table and recalibration starts from them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core import dist
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import MANIFEST, read_embeddings
from shelfmark.core.files import read_json, sha256_json
from shelfmark.core.log import say
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.evaluation.extract import extract
from shelfmark.models import Network
from shelfmark.recipe import Recipe, assemble


def features_of(
    network: Network,
    recipe: Recipe,
    table: Table,
    folder: Path,
    *,
    checkpoint_hash: str,
    precision: Precision,
    views: str = "centre",
) -> Embeddings:
    """The table's embeddings in `folder`: read where they fit this model and these images, else extracted.

    views: of more than the centre, the mean of the views' embeddings, each of length 1.
    """
    facts = {
        "checkpoint_sha256": checkpoint_hash,
        "rows_sha256": _rows_hash(table),
        "config_sha256": features_config_hash(recipe, precision, views),
    }
    if _fits(folder, facts):
        say(f"features: those in {folder} fit this model and these images")
        return read_embeddings(folder)
    network.eval()
    bad_images = BadImageLog(folder.with_name(f"{folder.name}_bad_images.csv"), num_images=len(table))

    def embed(images: Tensor) -> Tensor:
        with torch.inference_mode(), precision.autocast():
            return network.embed(images.to(precision.device, non_blocking=True))

    def embed_views(images: Tensor) -> Tensor:
        units = normalize(embed(images.flatten(0, 1)).float(), dim=1)
        return units.view(*images.shape[:2], -1).mean(dim=1)

    if views == "centre":
        batches = assemble.evaluation_batches(recipe, table, bad_images)
    else:
        batches = assemble.view_batches(recipe, table, views, recipe.data.input_size_px, bad_images)
    with bad_images.over_ranks():
        return extract(
            embed if views == "centre" else embed_views,
            batches,
            table,
            folder=folder,
            manifest=facts,
        )


def input_options(recipe: Recipe) -> dict[str, object]:
    """The options, all of `data`, that say how a picture becomes the network's input."""
    names = ("input_size_px", "eval_crop", "eval_resize_px", "interpolation", "mean", "std")
    return {name: getattr(recipe.data, name) for name in names}


def features_config_hash(recipe: Recipe, precision: Precision, views: str = "centre") -> str:
    """Of all options that shape features: `config_sha256` in their manifest."""
    options = {**input_options(recipe), "precision": precision.name, "root": recipe.data.root.resolve()}
    return sha256_json(options if views == "centre" else {**options, "views": views})


def _rows_hash(table: Table) -> str:
    # Of the rows themselves: a table may be a part of its file.
    digest = hashlib.sha256()
    for column in (table.paths.offsets, table.paths.data, table.labels):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _fits(folder: Path, facts: dict[str, str]) -> bool:
    fits = None
    if dist.is_main():
        file = folder / MANIFEST
        manifest = read_json(file) if file.is_file() else {}
        fits = all(manifest.get(name) == value for name, value in facts.items())
    return bool(dist.broadcast_object(fits))
