"""`shelfmark index`: a gallery of embeddings that is kept, grown and asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.artefact import Difference, differences, flat, listed
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.places import work_place
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.table import Table
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.forward import forward_options
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_export import export_vectors
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.index_kinds import choose_kind
from shelfmark.runtime.features import model_features
from shelfmark.runtime.stored_features import pass_facts, stored_pass_facts, with_labels_of
from shelfmark.runtime.trained_model import TrainedModel, open_model


@dataclass(frozen=True)
class Source:
    """What goes into an index: split of the recipe or a file of annotations, or a folder of images. By default `train`.

    Of annotations whose records have is_gallery, those that are marked. images: all of them are of class `label` and
    its name is `class_name`, where these are given. embeddings: a folder that `shelfmark embed` or a former build
    wrote, taken for a feature pass over the annotations; without these its labels count as the model's classes.
    """

    split: str | None = None
    annotations: Path | None = None
    images: Path | None = None
    embeddings: Path | None = None
    label: int | None = None
    class_name: str | None = None

    def __post_init__(self) -> None:
        for pair in (
            ("split", "annotations"),
            ("split", "images"),
            ("annotations", "images"),
            ("images", "embeddings"),
        ):
            if all(getattr(self, name) is not None for name in pair):
                raise UserError(f"--{' and --'.join(pair)} are given; take one of them.")
        if self.images is None and (self.label is not None or self.class_name is not None):
            raise UserError("--label and --class-name are of the photographs of --images DIR, which is not given.")
        if self.class_name is not None and self.label is None:
            raise UserError("--class-name names the class of --label, which is not given.")
        if self.label is not None and self.label < 0:
            raise UserError(f"--label {self.label}: a label is 0 or more.")


def build(opened: TrainedModel, out: Path, source: Source, kind: str = "auto") -> Index:
    """Builds an index of the source's images in the folder `out`, and writes it.

    kind: of `retrieval.index_kinds.KINDS`; `auto` chooses by size and says why. The metric is eval.retrieval_metric.
    The features stay beside the index, in `<out>_features`, so that another kind is built without a feature pass.
    """
    with folder_lock(out, "building an index"):
        return _build(opened, out, source, kind)


def _build(opened: TrainedModel, out: Path, source: Source, kind: str) -> Index:
    if out.exists():
        raise UserError(f"{out} exists; an index is not built over another. Give another --out, or remove it.")
    features, records, difference = _gallery(opened, source, out.with_name(f"{out.name}_features"))
    if difference:
        say(f"note: {difference}. So this index answers `shelfmark search` alone, and not `recognise`")
    if kind == "auto":
        kind, reason = choose_kind(*features.features.shape)
        say(f"kind: {kind}; {reason}")
    index = Index.build(
        features.features,
        records,
        kind=kind,
        metric=opened.recipe.eval.retrieval_metric,
        seed=opened.recipe.seed,
        facts={**_facts(opened), "shares_classes": difference is None},
    )
    write_index(out, index)
    say(f"index of {len(index):,} images, {index.kind}, {index.metric}, written to {out}")
    return index


def add(folder: Path, source: Source, checkpoint: Path | None = None, overrides: Sequence[Override] = ()) -> Index:
    """Adds the source's images to the index in `folder`. Their ids must be new to it."""
    read_manifest(folder)
    with folder_lock(folder, "adding images"), work_place(folder) as place:
        return _add(folder, source, checkpoint, overrides, place.made)


def _add(
    folder: Path, source: Source, checkpoint: Path | None, overrides: Sequence[Override], features_folder: Path
) -> Index:
    index, opened = open_index(folder, checkpoint, overrides)
    bad_images = folder.with_name(f"{folder.name}_added_features_bad_images.csv")
    features, records, difference = _gallery(opened, source, features_folder, bad_images)
    if difference and index.facts["shares_classes"]:
        raise UserError(
            f"{difference}. Number both by one list of classes; new products come behind those that the model knows."
        )
    index.add(features.features, records)
    write_index(folder, index)
    say(f"{len(records):,} images added to {folder}, which now holds {len(index):,}")
    _say_hints(index)
    return index


def remove(folder: Path, ids: Sequence[str] = (), labels: Sequence[int] = ()) -> Index:
    """Takes the images of these ids, and all images of these labels, out of the index in `folder`."""
    if not ids and not labels:
        raise UserError("say what to remove: --ids ID ..., or --labels LABEL ...")
    read_manifest(folder)
    with folder_lock(folder, "removing images"):
        return _remove(folder, ids, labels)


def _remove(folder: Path, ids: Sequence[str], labels: Sequence[int]) -> Index:
    index = read_index(folder)
    gone = np.isin(index.records.labels, np.asarray(labels, dtype=np.int64))
    present = set(index.records.labels.tolist())
    for label in labels:
        if label not in present:
            raise UserError(f"no image in {folder} has the label {label}. Nothing was removed.")
    rows = {one: row for row, one in enumerate(index.records.ids)} if ids else {}
    for one in ids:
        if one not in rows:
            hint = did_you_mean(one, rows)
            meant = f" Did you mean {hint!r}?" if hint else ""
            raise UserError(f"no image in {folder} has the id {one!r}.{meant} Nothing was removed.")
        gone[rows[one]] = True
    index.remove(gone)
    write_index(folder, index)
    say(f"{int(gone.sum()):,} images removed from {folder}, which now holds {len(index):,}")
    _say_hints(index)
    return index


def info(folder: Path) -> dict[str, Any]:
    """What the index is, by name: its sizes, its parameters and where it comes from. Every file is checked."""
    index = read_index(folder)
    labels = index.records.labels
    return {
        "kind": index.kind,
        "metric": index.metric,
        "num_images": len(index),
        "num_labels": len(np.unique(labels[labels >= 0])),
        "num_unlabelled": int((labels < 0).sum()),
        "dim": index.dim,
        "size_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        **index.parameters,
        "num_removed_inside": index.num_dead,
        **{name: value for name, value in index.facts.items() if name != "options"},
        **{name: str(value) for name, value in index.facts.get("options", {}).items()},
        "hints": index.hints(),
    }


def export(folder: Path, out: Path, form: str) -> None:
    """Writes the vectors, ids, labels, names and paths of the index for other programs."""
    if out.exists():
        raise UserError(f"{out} exists; nothing is overwritten. Give another --out, or remove it.")
    index = read_index(folder)
    export_vectors(index, out, form)
    say(f"{len(index):,} vectors of {index.dim} dimensions written to {out}")
    if index.kind == "ivf_pq":
        warn("ivf_pq keeps compressed vectors; those that were written are approximations")


def open_index(
    folder: Path, checkpoint: Path | None = None, overrides: Sequence[Override] = ()
) -> tuple[Index, TrainedModel]:
    """The index, and the model that it was built with; by default from where that lay then.

    Raises UserError where `checkpoint` is another model, or embeds pictures in another way.
    """
    facts = read_manifest(folder)["facts"]
    path = checkpoint or Path(facts["checkpoint"])
    if checkpoint is None and not path.exists():
        raise UserError(f"{folder} was built with {path}, which is gone; say where it is now with --RESUME_MODEL.")
    opened = open_model(path, list(overrides))
    require_same_model(folder, facts, opened)
    return read_index(folder), opened


def require_same_model(folder: Path, facts: Mapping[str, Any], opened: TrainedModel) -> None:
    """Raises a UserError unless the model's embeddings can be compared with those in the index."""
    ours, theirs = opened.checkpoint.weights_hash, facts["checkpoint_sha256"]
    if ours != theirs:
        raise UserError(
            f"{folder} was built with another checkpoint, {facts['checkpoint']} ({theirs[:12]}), than"
            f" {opened.checkpoint.folder} ({ours[:12]}). Vectors of two models cannot be compared: take that"
            " checkpoint, or build an index with this one by `shelfmark index build`."
        )
    now = forward_options(opened.recipe)
    if "options" in facts:
        changed = differences(facts["options"], now, defaults=forward_options(Recipe()))
    else:
        changed = _of_earlier_version(folder, flat({"data": facts["input"]}), now)
    if changed:
        told = ", ".join(f"{one.name}={one.before} (now {one.now})" for one in changed)
        raise UserError(
            f"{folder} was built with {told}. Pictures must be embedded as those in the index were: leave these options"
            " out, or build an index with them."
        )


def _of_earlier_version(folder: Path, known: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What differs of the options that an index of version 0.1.0 noted; warns of the others."""
    others = ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in now if name not in known))
    warn(
        f"{folder} was built by an earlier version, which did not note {others}. Whether they are as they were then"
        " cannot be checked; an index that is built anew notes them"
    )
    return differences(known, {name: now.get(name) for name in known})


def _facts(opened: TrainedModel) -> dict[str, Any]:
    return {
        "checkpoint": str(opened.checkpoint.folder.resolve()),
        "checkpoint_sha256": opened.checkpoint.weights_hash,
        "options": forward_options(opened.recipe),
    }


def _gallery(
    opened: TrainedModel, source: Source, folder: Path, bad_images: Path | None = None
) -> tuple[Embeddings, Records, str | None]:
    """The features, stored in `folder` where they are to be extracted, what is known of them, and the first class that
    the model calls otherwise, if there is one, in words."""
    if source.embeddings is not None:
        features = _stored(opened, source.embeddings)
        if source.split is None and source.annotations is None:
            paths = _rooted(features.paths, opened.recipe.data.root)
            names = _names(features.labels, opened.class_names)
            return features, Records(features.image_ids, features.labels, paths, names), None
        table = _table(opened, source)
        _require_rows(source.embeddings, features, table)
        features = with_labels_of(table, features, source.embeddings)
    else:
        table = _table(opened, source)
        features = model_features(opened, table, folder, may_replace=False, bad_images=bad_images)
    ids, labels = features.image_ids, table.labels[features.rows]
    names = _names(labels, table.class_names or opened.class_names)
    if source.images is not None:
        # Two folders may each have a 1.jpg.
        ids = Strings.of(f"{source.images.resolve().name}/{one}" for one in ids)
    if source.label is not None:
        labels = np.full(len(labels), source.label, dtype=np.int64)
        names = {source.label: source.class_name} if source.class_name else _names(labels, opened.class_names)
    paths = Strings.of(str(table.path(int(row))) for row in features.rows)
    return features, Records(ids, labels, paths, names), _difference(opened, table)


def _stored(opened: TrainedModel, folder: Path) -> Embeddings:
    features = read_embeddings(folder)
    known, now = stored_pass_facts(features), pass_facts(opened.recipe, opened.checkpoint.weights_hash)
    if known.get("checkpoint_sha256") != now["checkpoint_sha256"]:
        raise UserError(
            f"the features in {folder} were made by another checkpoint than {opened.checkpoint.folder}. Give that one"
            " as --RESUME_MODEL, or make them again with `shelfmark embed`."
        )
    if known.keys() == {"checkpoint_sha256"}:
        warn(f"the features in {folder} do not say with which options they were made, so these cannot be checked")
        return features
    if changed := differences(known, now, forward_options(Recipe())):
        raise UserError(
            f"the features in {folder} were made with other options: {listed(changed)}. Leave these options out, or"
            " make the features again with `shelfmark embed`."
        )
    return features


def _table(opened: TrainedModel, source: Source) -> Table:
    data = opened.recipe.data
    if source.images is not None:
        return folder_table(source.images)
    if source.annotations is not None:
        table = read_annotations(source.annotations, data.root, extra_roots=data.extra_roots)
    else:
        table = assemble.read_table(opened.recipe, source.split or "train", num_classes=0)
    return table if table.is_gallery is None else table.take(table.is_gallery)


def _difference(opened: TrainedModel, table: Table) -> str | None:
    # Further classes than the model's are new products.
    for label, (ours, theirs) in enumerate(zip(opened.class_names or (), table.class_names or ())):
        if ours != theirs:
            return f"the annotations call class {label} {theirs!r}, the checkpoint calls it {ours!r}"
    return None


def _names(labels: np.ndarray, class_names: Sequence[str] | None) -> dict[int, str]:
    names = class_names or ()
    return {label: names[label] for label in np.unique(labels).tolist() if 0 <= label < len(names)}


def _rooted(paths: Strings, root: Path) -> Strings:
    """The paths from data.root on; as they stand where that is not their root, which a folder of features forgets."""
    absolute = Path(os.path.abspath(root))
    return Strings.of(str(absolute / path) for path in paths) if (absolute / paths[0]).is_file() else paths


def _require_rows(folder: Path, features: Embeddings, table: Table) -> None:
    fits = int(features.rows.max()) < len(table)
    if not fits or list(table.image_ids.take(features.rows)) != list(features.image_ids):
        raise UserError(
            f"the features in {folder} are of other images than the annotations. Leave --embeddings out, or name the"
            " annotations that they were made of."
        )


def _say_hints(index: Index) -> None:
    for hint in index.hints():
        say(f"note: {hint}")
