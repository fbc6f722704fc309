"""`shelfmark index`: builds, changes, describes and exports an index of a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.places import work_place
from shelfmark.core.text_safety import in_line
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.predictions.answers import of_errors
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_export import export_vectors
from shelfmark.retrieval.index_files import read_index, read_manifest, recall_facts, write_index
from shelfmark.retrieval.index_kinds import choose_kind
from shelfmark.retrieval.stores import Place
from shelfmark.retrieval.stores.milvus import require_milvus
from shelfmark.retrieval.where import column_names
from shelfmark.runtime.index_content import IndexContent, Source, index_content, require_one_list
from shelfmark.runtime.index_promise import told_promise
from shelfmark.runtime.opened_index import index_facts, open_model_of_index
from shelfmark.runtime.trained_model import TrainedModel, tell_source

_NUM_TOLD = 20


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


def build(model: TrainedModel, out: Path, source: Source, kind: str = "auto", place: Place | None = None) -> Added:
    """Builds an index of the source's images in the folder `out`, and writes it.

    kind: of `retrieval.index_kinds.KINDS`; `auto` chooses by size and says why. place: of the database that the vectors
    go to; they stay in the folder without one. The metric is eval.retrieval_metric.
    The features stay beside the index, in `<out>_features`, so that another kind is built without a feature pass.
    """
    with ExitStack() as stack:

        def begin() -> None:
            require_place(out, "--out", is_folder=True)
            stack.enter_context(folder_lock(out, "building an index"))
            if out.exists():
                raise UserError(f"{out} exists; an index is not built over another. Give another --out, or remove it.")
            if place is not None:
                require_milvus(place, kind)

        from_main(begin)
        content = index_content(model, source, out.with_name(f"{out.name}_features"))
        return from_main(lambda: _build(content, out, kind, place), "index")


def _build(content: IndexContent, out: Path, kind: str, place: Place | None) -> Added:
    model = content.model
    features, records, difference = content.described(None)
    if difference:
        say(f"note: {difference}. So this index answers `shelfmark search` alone, and not `recognise`")
    if kind == "auto":
        num_vectors, dim = features.features.shape
        kind, reason = choose_kind(num_vectors, dim, in_database=place is not None)
        say(f"kind: {kind}; {reason}")
    index = Index.build(
        features.features,
        records,
        kind=kind,
        metric=model.recipe.eval.retrieval_metric,
        seed=model.recipe.seed,
        facts={**index_facts(model), "shares_classes": difference is None},
        place=place,
    )
    try:
        write_index(out, index)
    except BaseException:
        index.store.discard()
        raise
    vectors = "" if place is None else f", its vectors to {place}"
    told = f"{index.layout.kind}, {index.layout.metric}, written to {out}{vectors}"
    say(f"index of {counted(len(index), 'image')}, {told}")
    if index.promise is not None:
        say(told_promise(index, index.promise))
    return _added(content, out, index, records)


def _added(content: IndexContent, folder: Path, index: Index, records: Records) -> Added:
    layout = index.layout
    if content.source.label_from is not None:
        counts = dict(zip(*np.unique(records.labels, return_counts=True)))
        for label, name in list(sorted(records.names.items()))[:_NUM_TOLD]:
            say(f"{in_line([name])} ({label}): {counted(counts[label], 'image')}")
    classes = {label: records.names.get(label) for label in np.unique(records.labels).tolist() if label >= 0}
    return Added(folder, layout.kind, layout.metric, len(index), len(records), classes, content.errors)


def add(
    folder: Path,
    source: Source,
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
    place: Place | None = None,
) -> Added:
    """Adds the source's images to the index in `folder`. Their ids must be new to it.

    checkpoint, place: where the model and the database with the vectors are now, if they were moved.
    """
    with ExitStack() as stack:

        def begin() -> Path:
            read_manifest(folder)
            stack.enter_context(folder_lock(folder, "adding images"))
            return stack.enter_context(work_place(folder)).made

        features_folder = from_main(begin)
        with together():
            model, _ = open_model_of_index(folder, checkpoint, overrides)
        if source.images is None:
            tell_source(model)
        index: list[Index] = []
        from_main(lambda: index.append(read_index(folder, place)), "index")
        bad_images = folder.with_name(f"{folder.name}_added_features_bad_images.csv")
        content = index_content(model, source, features_folder, bad_images, lambda: index[0])
        return from_main(lambda: _add(content, folder, index[0]), "index")


def _add(content: IndexContent, folder: Path, index: Index) -> Added:
    features, records, difference = content.described(index)
    require_one_list(index, difference)
    index.add(features.features, records)
    write_index(folder, index)
    say(f"{counted(len(records), 'image')} added to {folder}, which now holds {len(index):,}")
    _say_hints(index)
    return _added(content, folder, index, records)


def remove(folder: Path, ids: Sequence[str] = (), labels: Sequence[int] = (), place: Place | None = None) -> Index:
    """Removes the images of these ids, and all images of these labels, from the index in `folder`.

    place: where the database with its vectors is now, if it was moved.
    """
    if not ids and not labels:
        raise UserError("say what to remove: --ids ID ..., or --labels LABEL ...")
    read_manifest(folder)
    with folder_lock(folder, "removing images"):
        return _remove(read_index(folder, place), folder, ids, labels)


def _remove(index: Index, folder: Path, ids: Sequence[str], labels: Sequence[int]) -> Index:
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
    say(f"{counted(int(gone.sum()), 'image')} removed from {folder}, which {left}")
    _say_hints(index)
    return index


def info(folder: Path, place: Place | None = None) -> dict[str, Any]:
    """The facts of an index, by name: its sizes, its parameters and its origin. Every file is checked."""
    index = read_index(folder, place)
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
        "num_later": len(index) - index.num_built,
        "recall": recall_facts(index.promise),
        **index.store.facts(),
        "columns": column_names(index.records),
        **{name: value for name, value in index.facts.items() if name != "options"},
        "options": dict(index.facts.get("options", {})),
        "hints": index.store.hints(),
    }


def export(folder: Path, out: Path, form: str, place: Place | None = None) -> Index:
    """Writes the vectors, ids, labels, names and paths of the index for other programs."""
    if out.exists():
        raise UserError(f"{out} exists; nothing is overwritten. Give another --out, or remove it.")
    require_place(out, "--out", is_folder=form == "npy")
    index = read_index(folder, place)
    export_vectors(index, out, form)
    say(f"{counted(len(index), 'vector')} of {counted(index.dim, 'dimension')} written to {out}")
    if index.layout.kind == "ivf_pq":
        warn("ivf_pq keeps compressed vectors; those that were written are approximations")
    return index


def _say_hints(index: Index) -> None:
    for hint in index.store.hints():
        say(f"note: {hint}")
