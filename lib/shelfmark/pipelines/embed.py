"""`shelfmark embed`: features of any images, once, to disk."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.places import require_place
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.table import Table
from shelfmark.pipelines.features import features_of
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.recipe import assemble


def embed(
    opened: OpenedModel, out: Path, split: str = "val", annotations: Path | None = None, images: Path | None = None
) -> Embeddings:
    """Embeddings of a split of the recipe, of an annotation file, or of a folder of photographs, in `out`."""
    if out.exists():
        raise UserError(f"{out} exists; features are never overwritten. Give another --out, or remove it.")
    require_place(out, "--out", is_folder=True)
    features = features_of(
        opened.network,
        opened.recipe,
        _table(opened, split, annotations, images),
        out,
        checkpoint_hash=opened.checkpoint.weights_hash,
        precision=opened.precision,
    )
    say(f"{len(features)} embeddings of {features.features.shape[1]} dimensions written to {out}")
    return features


def _table(opened: OpenedModel, split: str, annotations: Path | None, images: Path | None) -> Table:
    data = opened.recipe.data
    if images is not None:
        return folder_table(images)
    if annotations is not None:
        return read_annotations(annotations, data.root, extra_roots=data.extra_roots)
    return assemble.read_table(opened.recipe, split, num_classes=0)
