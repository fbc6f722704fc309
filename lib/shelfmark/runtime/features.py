"""Features once: every later score, table and recalibration starts from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.together import from_main
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.engine.precision import Precision
from shelfmark.evaluation.extract import extract
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.stored_features import STORED, feature_facts, take_stored, with_labels_of
from shelfmark.runtime.trained_model import TrainedModel


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
    bad_images: Path | None = None,
) -> Embeddings:
    """The table's embeddings in `folder`, with the table's own labels and ids.

    They are read where those in `folder` fit this model and these pictures, or copied from where they do, else made
    with a pass over the pictures. views: of more than the centre, the mean of the views' embeddings, each of length 1.
    stored_in: folders that hold folders of features, to look in too. may_replace: new features replace features that
    do not fit; else features that do not fit are a UserError that names what differs. bad_images: where to list
    pictures that cannot be read; by default `<folder>_bad_images.csv`.
    """

    taken: list[Embeddings] = []

    def look() -> tuple[dict[str, Any], bool]:
        facts = feature_facts(recipe, table, checkpoint_hash, precision.name, views)
        found = take_stored(folder, table, recipe, facts, stored_in, may_replace)
        if found is not None:
            taken.append(found)
        return facts, bool(taken)

    facts, is_there = from_main(look)
    if not is_there:
        bad_images = bad_images or folder.with_name(f"{folder.name}_bad_images.csv")
        log = BadImageLog(bad_images, num_images=len(table))
        return _extracted(network, recipe, table, folder, facts, precision, views, log)
    return taken[0] if taken else with_labels_of(table, read_embeddings(folder), folder)


def model_features(
    opened: TrainedModel,
    table: Table,
    folder: Path,
    *,
    stored_in: Sequence[Path] = (),
    may_replace: bool = True,
    bad_images: Path | None = None,
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
        bad_images=bad_images,
    )


def _extracted(
    network: Network,
    recipe: Recipe,
    table: Table,
    folder: Path,
    facts: Mapping[str, Any],
    precision: Precision,
    views: str,
    bad_images: BadImageLog,
) -> Embeddings:
    network.eval()

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
    chosen = embed if views == "centre" else embed_views
    with bad_images.over_ranks():
        return extract(chosen, batches, table, folder=folder, manifest={"facts": facts})
