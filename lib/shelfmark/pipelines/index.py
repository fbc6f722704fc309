"""`shelfmark index`: builds, changes, describes and exports an index of a gallery."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.artefact import listed
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.places import work_place
from shelfmark.core.strings import Strings
from shelfmark.core.together import from_main, together
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.class_map import class_key, matched_or_own
from shelfmark.data.table import Table
from shelfmark.predictions.answers import of_errors
from shelfmark.recipe import assemble
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_export import export_vectors
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.index_kinds import choose_kind
from shelfmark.runtime.features import features_of_photographs, model_features
from shelfmark.runtime.folder_records import folder_ids, folder_labels
from shelfmark.runtime.model_hashes import same_embedding
from shelfmark.runtime.opened_index import index_facts, open_model_of_index
from shelfmark.runtime.stored_features import pass_differences, pass_facts, stored_pass_facts, with_labels_of
from shelfmark.runtime.trained_model import TrainedModel

_NUM_TOLD = 20
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
class Added:
    """What a build or an addition did. num_images: that the index has now. classes: of what was added, None without a
    name. errors: id of an unreadable image -> why."""

    folder: Path
    kind: str
    metric: str
    num_images: int
    num_added: int
    classes: Mapping[int, str | None]
    errors: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """With `classes` as a list of numbers, names and errors as ids and reasons."""
        classes = [{"class": label, "name": name} for label, name in sorted(self.classes.items())]
        facts = {"index": self.folder, "kind": self.kind, "metric": self.metric, "num_images": self.num_images}
        return {**facts, "num_added": self.num_added, "classes": classes, "errors": of_errors(self.errors)}


def build(model: TrainedModel, out: Path, source: Source, kind: str = "auto") -> Added:
    """Builds an index of the source's images in the folder `out`, and writes it.

    kind: of `retrieval.index_kinds.KINDS`; `auto` chooses by size and says why. The metric is eval.retrieval_metric.
    The features stay beside the index, in `<out>_features`, so that another kind is built without a feature pass.
    """
    with ExitStack() as stack:

        def begin() -> None:
            require_place(out, "--out", is_folder=True)
            stack.enter_context(folder_lock(out, "building an index"))
            if out.exists():
                raise UserError(f"{out} exists; an index is not built over another. Give another --out, or remove it.")

        from_main(begin)
        gallery = _gallery(model, source, out.with_name(f"{out.name}_features"))
        return from_main(lambda: _build(gallery, out, kind), "index")


def _build(gallery: _Gallery, out: Path, kind: str) -> Added:
    model = gallery.model
    features, records, difference = gallery.described(None)
    if difference:
        say(f"note: {difference}. So this index answers `shelfmark search` alone, and not `recognise`")
    if kind == "auto":
        kind, reason = choose_kind(*features.features.shape)
        say(f"kind: {kind}; {reason}")
    index = Index.build(
        features.features,
        records,
        kind=kind,
        metric=model.recipe.eval.retrieval_metric,
        seed=model.recipe.seed,
        facts={**index_facts(model), "shares_classes": difference is None},
    )
    write_index(out, index)
    say(f"index of {len(index):,} images, {index.layout.kind}, {index.layout.metric}, written to {out}")
    return _added(gallery, out, index, records)


def _added(gallery: _Gallery, folder: Path, index: Index, records: Records) -> Added:
    layout = index.layout
    if gallery.source.label_from is not None:
        counts = dict(zip(*np.unique(records.labels, return_counts=True)))
        for label, name in list(sorted(records.names.items()))[:_NUM_TOLD]:
            say(f"{name} ({label}): {counts[label]:,} images")
    classes = {label: records.names.get(label) for label in np.unique(records.labels).tolist() if label >= 0}
    return Added(folder, layout.kind, layout.metric, len(index), len(records), classes, gallery.errors)


def add(folder: Path, source: Source, checkpoint: Path | None = None, overrides: Sequence[Override] = ()) -> Added:
    """Adds the source's images to the index in `folder`. Their ids must be new to it."""
    with ExitStack() as stack:

        def begin() -> Path:
            read_manifest(folder)
            stack.enter_context(folder_lock(folder, "adding images"))
            return stack.enter_context(work_place(folder)).made

        features_folder = from_main(begin)
        with together():
            model, _ = open_model_of_index(folder, checkpoint, overrides)
        index: list[Index] = []
        from_main(lambda: index.append(read_index(folder)), "index")
        bad_images = folder.with_name(f"{folder.name}_added_features_bad_images.csv")
        gallery = _gallery(model, source, features_folder, bad_images, lambda: index[0])
        return from_main(lambda: _add(gallery, folder, index[0]), "index")


def _add(gallery: _Gallery, folder: Path, index: Index) -> Added:
    features, records, difference = gallery.described(index)
    _require_one_list(index, difference)
    index.add(features.features, records)
    write_index(folder, index)
    say(f"{len(records):,} images added to {folder}, which now holds {len(index):,}")
    _say_hints(index)
    return _added(gallery, folder, index, records)


def _require_one_list(index: Index, difference: str | None) -> None:
    if difference and index.facts["shares_classes"]:
        raise UserError(
            f"{difference}. Number both by one list of classes; new products come behind those that the model knows."
        )


def remove(folder: Path, ids: Sequence[str] = (), labels: Sequence[int] = ()) -> Index:
    """Removes the images of these ids, and all images of these labels, from the index in `folder`."""
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
    left = f"now holds {len(index):,}" if len(index) else "is empty now: it answers nothing until images are added"
    say(f"{int(gone.sum()):,} images removed from {folder}, which {left}")
    _say_hints(index)
    return index


def info(folder: Path) -> dict[str, Any]:
    """The facts of an index, by name: its sizes, its parameters and its origin. Every file is checked."""
    index = read_index(folder)
    labels = index.records.labels
    return {
        "kind": index.layout.kind,
        "metric": index.layout.metric,
        "num_images": len(index),
        "num_labels": len(np.unique(labels[labels >= 0])),
        "num_unlabelled": int((labels < 0).sum()),
        "dim": index.dim,
        "size_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        **index.layout.parameters,
        "num_removed_inside": index.store.num_dead,
        **{name: value for name, value in index.facts.items() if name != "options"},
        "options": dict(index.facts.get("options", {})),
        "hints": index.store.hints(),
    }


def export(folder: Path, out: Path, form: str) -> Index:
    """Writes the vectors, ids, labels, names and paths of the index for other programs."""
    if out.exists():
        raise UserError(f"{out} exists; nothing is overwritten. Give another --out, or remove it.")
    require_place(out, "--out", is_folder=form == "npy")
    index = read_index(folder)
    export_vectors(index, out, form)
    say(f"{len(index):,} vectors of {index.dim} dimensions written to {out}")
    if index.layout.kind == "ivf_pq":
        warn("ivf_pq keeps compressed vectors; those that were written are approximations")
    return index


@dataclass(frozen=True)
class _Gallery:
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
                return features, Records(_ids(source, features.image_ids, index), features.labels, paths, names), None
            _require_rows(source.embeddings, features, table)
            features = with_labels_of(table, features, source.embeddings)
        assert table is not None
        return features, _records(model, source, table, features.rows, index), _difference(model, table)


def _records(model: TrainedModel, source: Source, table: Table, rows: np.ndarray, index: Index | None) -> Records:
    """The records of the table's `rows` (n,) in an index. UserError: the index has one of these images."""
    ids, labels = table.image_ids.take(rows), table.labels[rows]
    names = _names(labels, table.class_names or (None if _difference(model, table) else model.class_names))
    if source.label_from is not None:
        assert source.images is not None
        labels, names = folder_labels(source.images, list(ids), *_known_classes(model, index))
    if source.label is not None:
        labels = np.full(len(labels), source.label, dtype=np.int64)
        name = source.class_name or _known_classes(model, index)[0].get(source.label)
        names = {source.label: name} if name else {}
    paths = Strings.of(str(table.path(int(row))) for row in rows)
    return Records(_ids(source, ids, index), labels, paths, names)


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


def _gallery(
    model: TrainedModel,
    source: Source,
    folder: Path,
    bad_images: Path | None = None,
    joins: Callable[[], Index] | None = None,
) -> _Gallery:
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
    return _Gallery(model, source, table, features, errors)


def _require_fit(model: TrainedModel, source: Source, table: Table, index: Index | None) -> None:
    if source.label_from is not None and not _known_classes(model, index)[0]:
        say("note: no class has a name yet, so each folder becomes a new product")
    if index is not None:
        _require_one_list(index, _difference(model, table))
    records = _records(model, source, table, np.arange(len(table)), index)
    (_NO_RECORDS if index is None else index.records).require_new(records)


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
        table = read_annotations(source.annotations, data.root, extra_roots=data.extra_roots)
    else:
        table = assemble.read_table(model.recipe, source.split or "train", num_classes=0)
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


def _rooted(paths: Strings, root: Path) -> Strings:
    """The paths below data.root, made absolute; unchanged with another root, which stored features do not note."""
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
    for hint in index.store.hints():
        say(f"note: {hint}")
