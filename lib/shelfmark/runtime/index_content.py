"""The images that come into an index: their features, ids, labels and names. Legend: n rows of a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.core.artefact import listed
from shelfmark.core.columns import Column, taken
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.class_map import class_key, matched_or_own
from shelfmark.data.table import Table
from shelfmark.recipe import assemble
from shelfmark.retrieval.index import Index, Records
from shelfmark.runtime.features import features_of_photographs, model_features
from shelfmark.runtime.folder_records import folder_ids, folder_labels
from shelfmark.runtime.model_hashes import same_embedding
from shelfmark.runtime.stored_features import pass_differences, pass_facts, stored_pass_facts, with_labels_of
from shelfmark.runtime.trained_model import TrainedModel

_NO_RECORDS = Records(Strings.of([]), np.empty(0, np.int64), Strings.of([]))


@dataclass(frozen=True)
class Source:
    """The content of an index: a split of the recipe, an annotation file, or a folder of images. By default `train`.

    If records have is_gallery, only the marked ones are taken. images: a folder, whose images all get the class `label`
    and its name `class_name`, if given; with label_from `folder` see `folder_labels`. embeddings: a folder that
    `shelfmark embed` or an earlier build wrote, used in place of a feature pass over the annotations; without
    annotations its labels count as the model's classes. id_prefix: `<id_prefix>/` stands before the ids of the
    annotations, or before paths relative to `images`.
    """

    split: str | None = None
    annotations: Path | None = None
    images: Path | None = None
    embeddings: Path | None = None
    label: int | None = None
    class_name: str | None = None
    label_from: str | None = None
    id_prefix: str | None = None

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
        if self.label_from is not None and (self.images is None or self.label is not None):
            raise UserError("--label-from takes the classes of --images DIR from its folders; give it without --label.")
        if self.id_prefix is not None and not self.id_prefix.strip("/"):
            raise UserError("--id-prefix is empty; give a text, such as the name of a shop.")


@dataclass(frozen=True)
class IndexContent:
    """table: None if stored features are used without annotations. features: None if they are those of the source.

    errors: id of an unreadable image -> the reason.
    """

    model: TrainedModel
    source: Source
    table: Table | None
    features: Embeddings | None
    errors: Mapping[str, str]

    def described(self, index: Index | None) -> tuple[Embeddings, Records, str | None]:
        """The features, their records, and a sentence on the first class that has another name in the model.

        index: that the records will join; None for a new one.
        """
        model, source, table = self.model, self.source, self.table
        features = self.features
        if features is None:
            assert source.embeddings is not None
            features = _stored(model, source.embeddings)
            if table is None:
                paths = _rooted(features.paths, model.recipe.data.root)
                names = _names(features.labels, model.class_names)
                ids, labels = _ids(source, features.image_ids, index), features.labels
                return features, Records(ids, labels, paths, names, boxes=features.boxes), None
            features = _of_table(source.embeddings, features, table)
            features = with_labels_of(table, features, source.embeddings)
        assert table is not None
        return features, _records(model, source, table, features.rows, index), _difference(model, table)


def index_content(
    model: TrainedModel,
    source: Source,
    folder: Path,
    bad_images: Path | None = None,
    joins: Callable[[], Index] | None = None,
) -> IndexContent:
    """The content of an index. All processes compute its features, into `folder`.

    joins: gives the first process the index that the content will join; what it would refuse is refused before a pass.
    """
    is_as_stored = source.embeddings is not None and source.split is None and source.annotations is None
    with together():
        table = None if is_as_stored else _table(model, source)
    if table is not None and source.embeddings is None:
        from_main(lambda: _require_fit(model, source, table, None if joins is None else joins()))
    features, errors = None, dict[str, str]()
    if source.images is not None:
        assert table is not None
        features, errors = features_of_photographs(model, table, folder, bad_images)
    elif source.embeddings is None:
        assert table is not None
        features = model_features(model, table, folder, may_replace=False, bad_images=bad_images)
    return IndexContent(model, source, table, features, errors)


def require_one_list(index: Index, difference: str | None) -> None:
    if difference and index.facts["shares_classes"]:
        raise UserError(
            f"{difference}. Number both by one list of classes; new products come behind those that the model knows."
        )


def _records(model: TrainedModel, source: Source, table: Table, rows: np.ndarray, index: Index | None) -> Records:
    """The records of the table's `rows` (n,) in an index. UserError: the index has one of these images."""
    ids, labels = table.image_ids.take(rows), table.labels[rows]
    names = _names(labels, table.class_names or (None if _difference(model, table) else model.class_names))
    groups = _names(labels, table.groups)
    if source.label_from is not None:
        assert source.images is not None
        labels, names = folder_labels(source.images, list(ids), *_known_classes(model, index))
        groups = {}
    if source.label is not None:
        labels = np.full(len(labels), source.label, dtype=np.int64)
        name = source.class_name or _known_classes(model, index)[0].get(source.label)
        names = {source.label: name} if name else {}
    paths = Strings.of(str(table.path(int(row))) for row in rows)
    boxes = None if table.boxes is None else table.boxes[rows]
    return Records(_ids(source, ids, index), labels, paths, names, groups, _columns(table, rows), boxes)


def _ids(source: Source, ids: Strings, index: Index | None) -> Strings:
    """Ids in an index; those of a folder's images are at first their paths relative to it."""
    prefix = None if source.id_prefix is None else source.id_prefix.rstrip("/")
    if source.images is None:
        return ids if prefix is None else Strings.of(f"{prefix}/{one}" for one in ids)
    present = _NO_RECORDS if index is None else index.records
    return Strings.of(folder_ids(source.images, list(ids), present, prefix))


def _known_classes(model: TrainedModel, index: Index | None) -> tuple[dict[int, str], int]:
    """The names of classes that are known, by number, and the first number for a new one."""
    known: dict[int, str] = {}
    first_new = 0
    if index is None or index.facts.get("shares_classes", True):
        known |= dict(enumerate(model.class_names or ()))
        first_new = model.num_classes
    if index is not None:
        known |= index.records.names
        first_new = max(first_new, int(index.records.labels.max(initial=-1)) + 1)
    return known, first_new


def _require_fit(model: TrainedModel, source: Source, table: Table, index: Index | None) -> None:
    if source.label_from is not None and not _known_classes(model, index)[0]:
        say("note: no class has a name yet, so each folder becomes a new product")
    if index is not None:
        require_one_list(index, _difference(model, table))
    records = _records(model, source, table, np.arange(len(table)), index)
    present = _NO_RECORDS if index is None else index.records
    present.require_new(records)
    present.require_one_numbering(records)


def _stored(model: TrainedModel, folder: Path) -> Embeddings:
    features = read_embeddings(folder)
    known, now = stored_pass_facts(features), pass_facts(model.recipe, model.hashes)
    if not same_embedding(known, now):
        raise UserError(
            f"the features in {folder} were made by another checkpoint than {model.checkpoint.folder}. Give that one"
            " as --RESUME_MODEL, or make them again with `shelfmark embed`."
        )
    if known.keys() == {"checkpoint_sha256"}:
        warn(f"the features in {folder} do not say with which options they were made, so these cannot be checked")
        return features
    if changed := pass_differences(known, now):
        raise UserError(
            f"the features in {folder} were made with other options: {listed(changed)}. Leave these options out, or"
            " make the features again with `shelfmark embed`."
        )
    return features


def _table(model: TrainedModel, source: Source) -> Table:
    data = model.recipe.data
    if source.images is not None:
        return folder_table(source.images)
    if source.annotations is not None:
        table = read_annotations(source.annotations, data.root, extra_roots=data.extra_roots, own_columns=True)
    else:
        table = assemble.read_table(model.recipe, source.split or "train", num_classes=0, own_columns=True)
    table = matched_or_own(table, str(source.annotations or source.split or "train"), model.classes)
    return table if table.is_gallery is None else table.take(table.is_gallery)


def _difference(model: TrainedModel, table: Table) -> str | None:
    # Further classes than the model's are new products.
    is_nameless = table.class_names is None and model.class_names is not None
    if is_nameless and ((table.labels >= 0) & (table.labels < model.num_classes)).any():
        return (
            f"the annotations have {table.num_classes} classes without class_names, the checkpoint has"
            f" {model.num_classes}, so nothing says which is which"
        )
    for label, (ours, theirs) in enumerate(zip(model.class_names or (), table.class_names or ())):
        if class_key(ours) != class_key(theirs):
            return f"the annotations call class {label} {theirs!r}, the checkpoint calls it {ours!r}"
    return None


def _names(labels: np.ndarray, class_names: Sequence[str] | None) -> dict[int, str]:
    names = class_names or ()
    return {label: names[label] for label in np.unique(labels).tolist() if 0 <= label < len(names)}


def _columns(table: Table, rows: np.ndarray) -> dict[str, Column]:
    """What `--where` may ask of the table's `rows` (n,), besides the class and its group."""
    known = {"role": table.roles, "source": table.sources}
    given = {name: column for name, column in known.items() if column is not None}
    return taken({**table.columns, **given}, rows)


def _rooted(paths: Strings, root: Path) -> Strings:
    """The paths below data.root, made absolute; unchanged with another root, which stored features do not note."""
    absolute = Path(os.path.abspath(root))
    return Strings.of(str(absolute / path) for path in paths) if (absolute / paths[0]).is_file() else paths


def _of_table(folder: Path, features: Embeddings, table: Table) -> Embeddings:
    """The stored features of the table's images, in the table's order, also where features of more images are
    stored."""
    is_of_table = features.rows.max(initial=-1) < len(table)
    if is_of_table and list(table.image_ids.take(features.rows)) == list(features.image_ids):
        return features
    place_of = {image_id: place for place, image_id in enumerate(features.image_ids)}
    places = np.array([place_of.get(image_id, -1) for image_id in table.image_ids], dtype=np.int64)
    there, lacking = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
    if not len(there) or list(features.paths.take(places[there])) != list(table.paths.take(there)):
        raise UserError(
            f"the features in {folder} are of other images than the annotations. Leave --embeddings out, or name the"
            " annotations that they were made of."
        )
    if len(lacking):
        raise UserError(
            f"the features in {folder} lack {len(lacking):,} of the {counted(len(table), 'image')} to be indexed, such"
            f" as {table.image_ids[int(lacking[0])]}. Without --embeddings the command computes all features itself;"
            " `shelfmark embed` makes those of all images beforehand."
        )
    say(f"features: those of {counted(len(table), 'image')} are taken from the {len(features):,} in {folder}")
    boxes = None if features.boxes is None else features.boxes[places]
    ids, paths, rows = features.image_ids.take(places), features.paths.take(places), np.arange(len(table))
    taken_out = features.features[places], features.labels[places]
    return Embeddings(*taken_out, ids, paths, features.manifest, rows, boxes)
