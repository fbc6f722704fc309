"""The files made of every data set of new classes: training, validation on unseen classes, and its tests.

train.json           data.train_json: the training classes but those held out, numbered 0..C-1
val_retrieval.json   data.retrieval_json: the classes held out, each picture searched among all others
test*.json           the published test, for `shelfmark evaluate`; no run chooses by it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data.converters.class_disjoint import hold_out_classes
from shelfmark.data.converters.pictures import NUM_SHOWN, Picture, class_groups, class_names, require_pictures
from shelfmark.data.converters.prepared import Prepared, write_new
from shelfmark.data.documents import annotations_json


@dataclass(frozen=True)
class Search:
    """Which pictures are queries and which the gallery: one flag a picture. None: each is searched among all others."""

    pictures: Sequence[Picture]
    is_query: Sequence[bool] | None = None
    is_gallery: Sequence[bool] | None = None

    def records(self, labels: Mapping[str, int]) -> Iterator[dict[str, object]]:
        """Annotation records. labels: the number of each class name."""
        every = [True] * len(self.pictures)
        for picture, query, gallery in zip(self.pictures, self.is_query or every, self.is_gallery or every):
            roles = {"is_query": query, "is_gallery": gallery}
            yield {**picture.record(labels), **roles}

    @property
    def content(self) -> str:
        """The content of the file, in words."""
        classes = f"{len({picture.name for picture in self.pictures}):,} classes"
        if self.is_query is None or self.is_gallery is None:
            return f"{counted(len(self.pictures), 'image')} in {classes}, each searched among all the others"
        return f"{counted(sum(self.is_query), 'query')}, {counted(sum(self.is_gallery), 'gallery image')} in {classes}"


@dataclass(frozen=True)
class RetrievalSet:
    """A published data set whose test classes are not among its training classes.

    base: becomes data.root. tests: by the name of the annotation file without its ending. where: how to get the data.
    recall_at: the K that its results are published at. notes: what the user should know about this copy.
    """

    base: Path
    train: Sequence[Picture]
    tests: Mapping[str, Search]
    where: str
    recall_at: Sequence[int]
    notes: Sequence[str] = ()


def prepare_retrieval(dataset: RetrievalSet, out: Path, val_fraction: float, seed: int) -> Prepared:
    """Writes the annotations to `out`; the pictures stay where they are, paths are relative to `dataset.base`.

    val_fraction: part of the training classes, drawn by `seed`, to validate on; 0 trains on all of them.
    """
    tested = [picture for search in dataset.tests.values() for picture in search.pictures]
    if not dataset.train or not tested:
        raise UserError(f"{dataset.base} lists no {'test' if dataset.train else 'training'} image. {dataset.where}")
    _require_new_classes(dataset, tested)
    require_pictures(dataset.base, [*dataset.train, *tested], dataset.where)
    train, unseen = hold_out_classes(dataset.train, val_fraction, seed)
    searches = {**({"val_retrieval": Search(unseen)} if unseen else {}), **dataset.tests}
    contents = {"train": _classification(train)}
    contents |= {name: _search(search) for name, search in searches.items()}
    files = {name: out / f"{name}.json" for name in contents}
    write_new({files[name]: content for name, content in contents.items()})
    told = {"train": _content(train)} | {name: search.content for name, search in searches.items()}
    return Prepared(
        files={files[name]: text for name, text in told.items()},
        options=_options(dataset, files),
        notes=(*dataset.notes, *_notes(dataset, files)),
    )


def _require_new_classes(dataset: RetrievalSet, tested: Sequence[Picture]) -> None:
    tested_names = {picture.name for picture in tested}
    shared = class_names(picture for picture in dataset.train if picture.name in tested_names)
    if shared:
        raise UserError(
            f"{dataset.base}: {len(shared):,} classes are in both the training and the test lists, which must have"
            f" none in common: {in_line(shared, NUM_SHOWN)}. {dataset.where}"
        )


def _classification(pictures: Sequence[Picture]) -> bytes:
    names = class_names(pictures)
    labels = {name: label for label, name in enumerate(names)}
    records = (picture.record(labels) for picture in pictures)
    return annotations_json(records, len(names), names, class_groups(pictures, names))


def _search(search: Search) -> bytes:
    names = class_names(search.pictures)
    labels = {name: label for label, name in enumerate(names)}
    return annotations_json(search.records(labels), len(names), names, class_groups(search.pictures, names))


def _content(pictures: Sequence[Picture]) -> str:
    return f"{counted(len(pictures), 'image')} in {counted(len({picture.name for picture in pictures}), 'class')}"


def _options(dataset: RetrievalSet, files: Mapping[str, Path]) -> dict[str, Path | str]:
    options: dict[str, Path | str] = {"data.root": dataset.base, "data.train_json": files["train"]}
    if "val_retrieval" in files:
        options |= {"data.retrieval_json": files["val_retrieval"], "eval.metric": "recall@1"}
    else:
        options["eval.metric"] = "none"
    return options | {"eval.recall_at": f"[{','.join(map(str, dataset.recall_at))}]"}


def _notes(dataset: RetrievalSet, files: Mapping[str, Path]) -> Iterator[str]:
    if "val_retrieval" not in files:
        yield (
            "no class is held out, so nothing is scored in training, and best_model is the last checkpoint: take the"
            " number of epochs from a run with validation classes."
        )
    test = files[next(iter(dataset.tests))]
    yield f"the test: shelfmark evaluate --RESUME_MODEL CKPT data.retrieval_json={test}"
