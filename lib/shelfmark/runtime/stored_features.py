"""Stored features: how they were made, and whether they fit what is needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.artefact import Difference, differences, flat, listed
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import MANIFEST, read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.folders import folder_to_read, holds_our_manifest
from shelfmark.core.log import say, warn
from shelfmark.core.manifests import read_manifest
from shelfmark.data.sources.named import source_digest
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe
from shelfmark.recipe.forward import forward_options
from shelfmark.runtime.model_hashes import CHECKPOINT, HASHES, ModelHashes, same_embedding

STORED = "embeddings"
"""The folder in a run, and in an evaluation, that holds folders of features."""

_OF_PASS = (*HASHES, "views")
_STATS = "pictures.sizes_and_times_sha256"
_IN_WORDS = {
    CHECKPOINT: "the weights of the checkpoint",
    "pictures.root": "the folder of the images",
    "pictures.num": "the number of images",
    "pictures.paths_sha256": "the list of images",
    _STATS: "the size or the time of an image file",
}
# Such a folder is of version 0.1.0, or of another program.
_NOTED_NOTHING = Difference("facts", None, None)


def pass_facts(recipe: Recipe, made_by: ModelHashes | str, views: str = "centre") -> dict[str, Any]:
    """The facts that determine the embedding of a picture, by dotted name, except the precision.

    made_by: the hashes of the model; a text for a network that is no checkpoint.
    """
    of_model = {CHECKPOINT: made_by} if isinstance(made_by, str) else made_by.facts
    return {**of_model, "views": views, **forward_options(recipe)}


def feature_facts(
    recipe: Recipe, table: Table, made_by: ModelHashes | str, precision: str, views: str
) -> dict[str, Any]:
    """The facts that determine features of a table: `pass_facts`, the precision and the pictures; not the labels."""
    copy = source_digest(recipe.data.source)
    pictures = {
        "root": table.root.resolve(),
        "num": len(table),
        "paths_sha256": paths_hash(table),
        "sizes_and_times_sha256": _stats_hash(table) if copy is None else None,
        **({} if copy is None else {"copy_sha256": copy}),
    }
    return {**pass_facts(recipe, made_by, views), **flat({"precision": precision, "pictures": pictures})}


def paths_hash(table: Table) -> str:
    """The hash of the pictures' paths and boxes, in order."""
    boxes = [] if table.boxes is None else [table.boxes]
    return _hash(table.paths.offsets, table.paths.data, *boxes)


def stored_pass_facts(features: Embeddings) -> dict[str, Any]:
    """The `pass_facts` of stored features. Features of version 0.1.0 noted only their checkpoint."""
    known = features.manifest.get("facts", features.manifest)
    assert isinstance(known, Mapping)
    return {name: value for name, value in known.items() if name in _OF_PASS or name.startswith(("model.", "data."))}


def pass_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """The facts by which embeddings differ. Of the network's hashes only one is told, if it makes other embeddings."""
    hidden = HASHES if same_embedding(before, now) else [name for name in HASHES if name != CHECKPOINT]
    found = differences(before, now, defaults=forward_options(Recipe()))
    return [one for one in found if one.name not in hidden]


def feature_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What differs between the `feature_facts` of stored features (`before`) and those that are wanted."""
    # The size and the time of a missing picture are unknown.
    return [one for one in pass_differences(before, now) if one.name != _STATS or None not in (one.before, one.now)]


def take_stored(
    folder: Path, table: Table, recipe: Recipe, facts: Mapping[str, Any], stored_in: Sequence[Path], may_replace: bool
) -> Embeddings | None:
    """The fitting features in `folder`, which may be copied there from a folder in one of `stored_in`; None if there
    are none yet.

    UserError: the content of `folder` does not fit, is damaged or is something else, and may not be replaced. Damaged
    features of the run itself are named, and computed anew.
    """
    found: list[Difference] | None = []
    try:
        found = _misfits(folder, facts, recipe)
        if found == []:
            features = with_labels_of(table, read_embeddings(folder), folder)
            say(f"features: those in {folder} fit this model and these images")
            return features
    except UserError as error:
        if not may_replace:
            raise
        warn(f"{error} The features are made anew")
    if found is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} exists and holds no features of ours. Nothing is written there. Give another folder."
        )
    if found and not may_replace:
        raise UserError(
            f"{folder} exists, and its features do not fit: {_told(found)}. Features are never overwritten."
            " Give another --out, or remove it."
        )
    for other in _folders_in(stored_in):
        fitting = None if other == folder else _fitting(other, folder.name, table, recipe, facts)
        if fitting is not None:
            write_embeddings(folder, fitting)
            say(f"features: those in {other} fit this model and these images; they are copied to {folder}")
            return read_embeddings(folder)
    if found:
        say(f"features: those in {folder} do not fit and are made anew: {_told(found)}")
    return None


def fitting_features(
    name: str, table: Table, recipe: Recipe, facts: Mapping[str, Any], stored_in: Sequence[Path]
) -> Embeddings | None:
    """The fitting features in a folder in one of `stored_in`, where they lie; None if there are none.

    name: of a folder whose differences are told if it does not fit. For the other arguments see `take_stored`.
    """
    for folder in _folders_in(stored_in):
        found = _fitting(folder, name, table, recipe, facts)
        if found is not None:
            say(f"features: those in {folder} fit this model and these images")
            return found
    return None


def with_labels_of(table: Table, features: Embeddings, folder: Path) -> Embeddings:
    """Stored features with the labels and ids of the present annotations; prints how many labels differ.

    table: the pictures of the features, in the same order.
    """
    labels = table.labels[features.rows]
    num_changed = int((labels != features.labels).sum())
    if num_changed:
        say(
            f"note: {num_changed} of the {len(labels)} labels stored in {folder} differ from the annotations;"
            " the labels of the annotations are used"
        )
    return replace(features, labels=labels, image_ids=table.image_ids.take(features.rows))


def _fitting(other: Path, name: str, table: Table, recipe: Recipe, facts: Mapping[str, Any]) -> Embeddings | None:
    """The features in `other` if they fit. If they do not, but have the same name, the differences are printed."""
    try:
        differs = _misfits(other, facts, recipe)
        if differs and other.name == name:
            say(f"features: those in {other} do not fit: {_told(differs)}")
        return with_labels_of(table, read_embeddings(other), other) if differs == [] else None
    except UserError as error:
        warn(f"the features in {other} are passed over: {error}")
        return None


def _folders_in(stored_in: Sequence[Path]) -> list[Path]:
    return list(dict.fromkeys(file.parent for place in stored_in for file in sorted(place.glob(f"*/{MANIFEST}"))))


def _misfits(folder: Path, facts: Mapping[str, Any], recipe: Recipe) -> list[Difference] | None:
    """The differences of the features in `folder` from what is needed; None if there are no features."""
    folder = folder_to_read(folder)
    if not holds_our_manifest(folder):
        return None
    manifest = read_manifest(folder / MANIFEST)
    if not {"num_rows", "dim"} <= manifest.keys():
        return None
    if "facts" not in manifest:
        return [_NOTED_NOTHING]
    found = feature_differences(manifest["facts"], facts)
    if not found and manifest["num_rows"] < facts["pictures.num"] and recipe.data.on_bad_image == "error":
        found = [Difference("data.on_bad_image", "skip", "error")]
    return found


def _told(found: list[Difference]) -> str:
    if found == [_NOTED_NOTHING]:
        return "they do not say what they were made with"
    return listed(replace(one, name=_IN_WORDS.get(one.name, one.name)) for one in found)


def _stats_hash(table: Table) -> str | None:
    """The hash of each file's size in bytes and time of its last change in ns: a replaced picture has another time, and
    nearly always another size. None if a file is missing."""
    root = str(table.root)
    try:
        found = [os.stat(os.path.join(root, path)) for path in table.paths]
    except OSError:
        return None
    return _hash(np.asarray([(one.st_size, one.st_mtime_ns) for one in found], dtype=np.int64))


def _hash(*columns: np.ndarray) -> str:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()
