"""`shelfmark embed`: features of any images, once, to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.errors import UserError, choose
from shelfmark.core.log import say
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.class_map import matched_or_own, same_beginning
from shelfmark.data.table import Table
from shelfmark.recipe import assemble
from shelfmark.runtime.accounts import Accounts
from shelfmark.runtime.features import bad_images_of, features_of_photographs, model_features
from shelfmark.runtime.shards import SHARD_IMAGES, InShards, discard_shards, ray_actors, require_ray
from shelfmark.runtime.trained_model import TrainedModel


class Embedded(NamedTuple):
    """errors: id of a photograph of a folder that could not be read, and has no row -> the reason. accounts: of all
    listed images."""

    features: Embeddings
    errors: dict[str, str]
    accounts: Accounts


def embed(
    model: TrainedModel,
    out: Path,
    split: str = "val",
    annotations: Path | None = None,
    images: Path | None = None,
    runner: Literal["local", "ray"] = "local",
    shard_size: int | None = None,
) -> Embedded:
    """Embeddings of a split of the recipe, of an annotation file, or of a folder of photographs, in `out`.

    runner: local: the processes that call this together make the pass. ray: Ray actors do. shard_size: images whose
    features are kept as soon as they are whole, so that a stopped pass goes on behind them; None: SHARD_IMAGES.
    Features in `out` that fit are kept, with the present labels and ids of the annotations. UserError: they do not fit,
    or none of the photographs could be read.
    """
    work = _runner(runner, shard_size)
    with together():
        require_place(out, "--out", is_folder=True)
        table = _table(model, split, annotations, images)
    errors: dict[str, str] = {}
    if images is None:
        features = model_features(model, table, out, may_replace=False, runner=work)
    else:
        features, errors = features_of_photographs(model, table, out, runner=work)

    def correct() -> None:
        if not _has_names_of(out, features):
            write_embeddings(out, features)
            say(f"labels and image ids in {out} are those of the annotations now")

    from_main(correct, "report")
    # A kill may have left them behind features that are whole.
    from_main(lambda: discard_shards(out))
    accounts = from_main(lambda: Accounts.of(len(table), features, bad_images_of(out)))
    if accounts.reasons:
        say(accounts.told)
    say(f"{counted(len(features), 'embedding')} of {features.features.shape[1]} dimensions written to {out}")
    return Embedded(features, errors, accounts)


def _runner(name: str, shard_size: int | None) -> InShards:
    size = SHARD_IMAGES if shard_size is None else shard_size
    if size < 1:
        raise UserError(f"--shard-size is {size}; it is a number of images, 1 or more.")
    if choose("--runner", name, ("local", "ray")) == "local":
        return InShards(size)
    require_ray()
    return InShards(size, ray_actors, always=True)


def _has_names_of(folder: Path, features: Embeddings) -> bool:
    def columns(of: Embeddings) -> tuple[np.ndarray, ...]:
        return of.labels, of.image_ids.data, of.image_ids.offsets

    return all(map(np.array_equal, columns(read_embeddings(folder)), columns(features)))


def _table(model: TrainedModel, split: str, annotations: Path | None, images: Path | None) -> Table:
    data = model.recipe.data
    if images is not None:
        return folder_table(images)
    if annotations is not None:
        table, name = read_annotations(annotations, data.root, extra_roots=data.extra_roots), str(annotations)
    else:
        table, name = assemble.read_table(model.recipe, split, num_classes=0), split
    table = matched_or_own(table, name, model.classes)
    if not same_beginning(table.class_names or (), model.class_names or ()):
        say(f"note: {name} has classes that the checkpoint does not know: labels keep the annotations' numbers")
    return table
