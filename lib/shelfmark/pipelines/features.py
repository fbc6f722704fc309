"""Features once: every later score, table and recalibration starts from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core import dist
from shelfmark.core.artefact import Difference, differences, flat, listed
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import MANIFEST, read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.core.log import say, warn
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.evaluation.extract import extract
from shelfmark.models import Network
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.forward import forward_options

STORED = "embeddings"
"""The folder in a run, and in an evaluation, that holds folders of features."""

_OF_PASS = ("checkpoint_sha256", "views")
_SIZES = "pictures.sizes_sha256"


def features_of(
    network: Network,
    recipe: Recipe,
    table: Table,
    folder: Path,
    *,
    checkpoint_hash: str,
    precision: Precision,
    views: str = "centre",
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
) -> Embeddings:
    """The table's embeddings in `folder`, with the table's own labels and ids.

    They are read where those in `folder` fit this model and these pictures, or copied from where they do, else made
    with a pass over the pictures. views: of more than the centre, the mean of the views' embeddings, each of length 1.
    stored_in: folders of folders of features to look in, besides. may_replace: put new features in the place of those
    that do not fit; else they are a UserError that names what differs.
    """
    facts, source = {}, None
    if dist.is_main():
        facts = _facts(recipe, table, checkpoint_hash, precision, views)
        source = _fitting(folder, facts, recipe, stored_in, may_replace)
    source = dist.broadcast_object(source)
    if source is None:
        return _extracted(network, recipe, table, folder, facts, precision, views)
    found = with_labels_of(table, read_embeddings(source), source)
    if source != folder:
        if dist.is_main():
            write_embeddings(folder, found)
        dist.barrier()
        found = read_embeddings(folder)
    return found


def model_features(
    opened: OpenedModel,
    table: Table,
    folder: Path,
    *,
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
) -> Embeddings:
    """As `features_of`, of a trained model; those in its run folder are looked through too."""
    return features_of(
        opened.network,
        opened.recipe,
        table,
        folder,
        checkpoint_hash=opened.checkpoint.weights_hash,
        precision=opened.precision,
        stored_in=[opened.run_folder / STORED, *stored_in],
        may_replace=may_replace,
    )


def pass_facts(recipe: Recipe, checkpoint_hash: str, views: str = "centre") -> dict[str, Any]:
    """What shapes the embedding of a picture, by dotted name, but for the precision."""
    return {"checkpoint_sha256": checkpoint_hash, "views": views, **forward_options(recipe)}


def stored_pass_facts(features: Embeddings) -> dict[str, Any]:
    """The same of stored features. Those of version 0.1.0 know of their checkpoint alone, others' not even that."""
    known = features.manifest.get("facts", features.manifest)
    assert isinstance(known, Mapping)
    return {name: value for name, value in known.items() if name in _OF_PASS or name.startswith(("model.", "data."))}


def with_labels_of(table: Table, features: Embeddings, folder: Path) -> Embeddings:
    """Stored features with the labels and ids of the annotations at hand; says how many labels differ.

    table: of the pictures that the features were made of, in their order.
    """
    labels = table.labels[features.rows]
    num_changed = int((labels != features.labels).sum())
    if num_changed:
        say(
            f"note: {num_changed} of the {len(labels)} labels stored in {folder} are others than those of the"
            " annotations; those of the annotations count"
        )
    return replace(features, labels=labels, image_ids=table.image_ids.take(features.rows))


def _facts(recipe: Recipe, table: Table, checkpoint_hash: str, precision: Precision, views: str) -> dict[str, Any]:
    pictures = {
        "root": table.root.resolve(),
        "num": len(table),
        "paths_sha256": _hash(table.paths.offsets, table.paths.data),
        "sizes_sha256": _sizes_hash(table),
    }
    return {**pass_facts(recipe, checkpoint_hash, views), **flat({"precision": precision.name, "pictures": pictures})}


def _sizes_hash(table: Table) -> str | None:
    """Of the files' sizes in bytes: a picture that was replaced nearly always has another. None where one is gone."""
    root = str(table.root)
    try:
        sizes = [os.stat(os.path.join(root, path)).st_size for path in table.paths]
    except OSError:
        return None
    return _hash(np.asarray(sizes, dtype=np.int64))


def _hash(*columns: np.ndarray) -> str:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def _fitting(
    folder: Path, facts: dict[str, Any], recipe: Recipe, stored_in: Sequence[Path], may_replace: bool
) -> Path | None:
    """Where features that fit are: `folder` itself, or another one. None where they are to be made."""
    found = _misfits(folder, facts, recipe)
    if found is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and holds no features of ours. Give another folder, or remove it.")
    if found == []:
        say(f"features: those in {folder} fit this model and these images")
        return folder
    if found and not may_replace:
        raise UserError(
            f"{folder} exists, and its features do not fit: {listed(found)}. Features are never overwritten."
            " Give another --out, or remove it."
        )
    for other in _others(folder, stored_in):
        try:
            fits = _misfits(other, facts, recipe) == []
        except UserError as error:
            warn(f"the features in {other} are passed over: {error}")
            continue
        if fits:
            say(f"features: those in {other} fit this model and these images; they are copied to {folder}")
            return other
    if found:
        say(f"features: those in {folder} do not fit and are made anew: {listed(found)}")
    return None


def _others(folder: Path, stored_in: Sequence[Path]) -> list[Path]:
    found = dict.fromkeys(file.parent for place in stored_in for file in sorted(place.glob(f"*/{MANIFEST}")))
    return [one for one in found if one != folder]


def _misfits(folder: Path, facts: dict[str, Any], recipe: Recipe) -> list[Difference] | None:
    """In what the features in `folder` differ from what is needed. None where there are none."""
    file = folder / MANIFEST
    if not file.is_file():
        return None
    manifest = read_json(file)
    if not isinstance(manifest, dict) or not {"num_rows", "dim"} <= manifest.keys():
        return None
    found = differences(manifest.get("facts", {}), facts, defaults=forward_options(Recipe()))
    # The size of a picture that is gone is not known.
    found = [one for one in found if one.name != _SIZES or None not in (one.before, one.now)]
    if not found and manifest["num_rows"] < facts["pictures.num"] and recipe.data.on_bad_image == "error":
        found = [Difference("data.on_bad_image", "skip", "error")]
    return found


def _extracted(
    network: Network,
    recipe: Recipe,
    table: Table,
    folder: Path,
    facts: dict[str, Any],
    precision: Precision,
    views: str,
) -> Embeddings:
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
    return extract(
        embed if views == "centre" else embed_views, batches, table, folder=folder, manifest={"facts": facts}
    )
