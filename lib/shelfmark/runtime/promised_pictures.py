"""The pictures that thresholds are learned on, or checked on: of known products, and of products never seen.

Legend: N pictures, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import are, counted
from shelfmark.data.annotations import folder_table, read_annotations
from shelfmark.data.class_map import class_key
from shelfmark.data.holdout import leaked_rows
from shelfmark.data.identity import identities, image_numbers
from shelfmark.data.table import Table
from shelfmark.engine.hooks import NO_METRIC
from shelfmark.recipe import assemble
from shelfmark.retrieval.index import Index
from shelfmark.runtime.features import model_features
from shelfmark.runtime.folder_records import folder_labels
from shelfmark.runtime.splits import read_evaluation, require_val
from shelfmark.runtime.trained_model import TrainedModel
from shelfmark.runtime.training_root import training_recipe
from shelfmark.runtime.val_parts import choose_share, kept_of
from shelfmark.runtime.validation import RETRIEVAL_SCORES

_NAMES_TOLD = 10


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with their products' numbers: table, and labels (N,) int64 in its order. name: of their features.

    photographs: (N,) int64, equal where two boxes are of one photograph, of all pictures that thresholds are learned
    on; None where no photograph has several.
    """

    name: str
    table: Table
    labels: np.ndarray
    photographs: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class PromisedPictures:
    """known: of products of the model or the index. unseen: of others, told apart by their labels.

    told: what they are, for thresholds.json. notes: why the promise is weaker than it seems, one sentence each.
    unseen_names: of given pictures, what the products never seen are called.
    """

    known: tuple[Labelled, ...]
    unseen: tuple[Labelled, ...]
    told: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    unseen_names: tuple[str, ...] = ()


class TrainingTables(NamedTuple):
    """The images that the model was trained on, and those of the classes that were kept out."""

    learned: Table
    kept_out: Table


def training_tables(model: TrainedModel) -> TrainingTables | None:
    """None where the training annotations are not there any more."""
    file = model.recipe.data.train_json
    if file is None or not file.is_file():
        return None
    return TrainingTables(*assemble.read_training(training_recipe(model)))


@dataclass(frozen=True)
class Given:
    """Labelled pictures that the user names, in place of val: annotations, or a folder with a folder for each product.

    Without both, val and the pictures of products that were kept out of training are taken."""

    annotations: Path | None = None
    images: Path | None = None

    def __post_init__(self) -> None:
        if self.annotations is not None and self.images is not None:
            raise UserError("--annotations and --images are given; take one of them.")

    @property
    def place(self) -> Path | None:
        return self.annotations or self.images


@dataclass(frozen=True, eq=False)
class KnownProducts:
    """The products that can be answered: labels, and their names by label; first_new: the first number of no product.

    pictures: absolute paths of the gallery, which no picture may be one of.
    """

    labels: np.ndarray
    names: Mapping[int, str]
    first_new: int
    pictures: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, model: TrainedModel, index: Index | None) -> KnownProducts:
        """Those that the model was trained on, and those of the index."""
        labels, names = np.flatnonzero(model.counts), dict(enumerate(model.class_names or ()))
        first_new, pictures = model.num_classes, frozenset[str]()
        if index is not None:
            of_index = np.unique(index.records.labels)
            labels = np.union1d(labels, of_index[of_index >= 0])
            names |= index.records.names
            first_new = max(first_new, int(index.records.labels.max(initial=-1)) + 1)
            pictures = frozenset(index.records.paths)
        return cls(labels, names, first_new, pictures)

    def labels_by_name(self, names: Sequence[str]) -> np.ndarray:
        """(names,) int64: the number of each; a new one for a name that is not known."""
        known = {class_key(name): label for label, name in self.names.items()}
        next_new, found = self.first_new, []
        for name in names:
            label = known.get(class_key(name))
            if label is None:
                label, next_new = next_new, next_new + 1
            found.append(label)
        return np.array(found, dtype=np.int64)


def pictures_of(
    model: TrainedModel, products: KnownProducts, given: Given, training: TrainingTables | None
) -> PromisedPictures:
    """The pictures that were given; else val, and those of products that were kept out of the training."""
    found = _own(model, products, training) if given.place is None else _given(model, products, given, training)
    parts = _with_photographs([_outside(one, products) for one in (*found.known, *found.unseen)])
    num_known = len(found.known)
    return replace(found, known=tuple(parts[:num_known]), unseen=tuple(parts[num_known:]))


def _with_photographs(parts: list[Labelled]) -> list[Labelled]:
    if all(part.table.boxes is None for part in parts):
        return parts
    paths = [path for part in parts for path in identities(part.table.paths, part.table.root)]
    numbers = image_numbers(paths, Path("/"))
    if len(np.unique(numbers)) == len(numbers):
        return parts
    ends = np.cumsum([len(part.labels) for part in parts])
    return [replace(part, photographs=own) for part, own in zip(parts, np.split(numbers, ends[:-1]))]


class Embedded(NamedTuple):
    """features (N, D), labels (N,) and, as in `Labelled`, photographs (N,) or None of pictures that could be read."""

    features: np.ndarray
    labels: np.ndarray
    photographs: np.ndarray | None


def features_of(model: TrainedModel, pictures: Sequence[Labelled], folder: Path) -> list[Embedded]:
    """Of each part; every process takes part. Features are stored in `folder`."""
    found = []
    for one in pictures:
        features = model_features(model, one.table, folder / one.name)
        rows = features.rows
        found.append(
            Embedded(features.features, one.labels[rows], None if one.photographs is None else one.photographs[rows])
        )
    return found


def _own(model: TrainedModel, products: KnownProducts, training: TrainingTables | None) -> PromisedPictures:
    val, retrieval = read_evaluation(model)
    val = require_val(val, "the promise")
    is_kept = choose_share(model) < 1
    val = kept_of(model, val) if is_kept else val
    val = val.take(np.isin(val.labels, products.labels))
    notes = [] if is_kept else _notes_on_val(model)
    unseen = [*_kept_out(model, products, training), *_of_retrieval(products, retrieval)]
    told = {
        "pictures": "val, without those that chose the model" if is_kept else "val",
        "chose_model": bool(notes),
        "products_never_seen": [one.name for one in unseen],
    }
    if any(one.name == "retrieval" for one in unseen) and _chose_by_retrieval(model):
        notes.append("the pictures of products never seen chose best_model (eval.metric); it may refuse others less")
    known = Labelled("val_kept" if is_kept else "val", val, val.labels)
    return PromisedPictures((known,), tuple(unseen), told, tuple(notes))


def _kept_out(model: TrainedModel, products: KnownProducts, training: TrainingTables | None) -> list[Labelled]:
    """The pictures of the classes of data.open_set_classes, in the annotations of train and val; without those that
    the index has by now."""
    classes = np.setdiff1d(np.array(model.open_classes, dtype=np.int64), products.labels)
    if not len(classes):
        return []
    parts = [] if training is None else [("open_set", training.kept_out)]
    if model.recipe.data.val_json is not None:
        parts.append(("open_set_val", assemble.read_table(model.recipe, "val", num_classes=0)))
    found = []
    for name, table in parts:
        kept = table.take(np.isin(table.labels, classes))
        if len(kept) and same_names(table, model):
            found.append(Labelled(name, kept, kept.labels))
    return found


def same_names(table: Table, model: TrainedModel) -> bool:
    """Whether the table numbers its classes as the model does."""
    if table.class_names is None or model.class_names is None:
        return table.num_classes == model.num_classes
    return tuple(map(class_key, table.class_names)) == tuple(map(class_key, model.class_names))


def _of_retrieval(products: KnownProducts, retrieval: Table | None) -> list[Labelled]:
    """The pictures of data.retrieval_json whose products neither the model nor the index knows, by name."""
    if retrieval is None or retrieval.class_names is None or not products.names:
        return []
    labels = products.labels_by_name(retrieval.class_names)[retrieval.labels]
    rows = (retrieval.labels >= 0) & (labels >= products.first_new)
    if not rows.any():
        return []
    return [Labelled("retrieval", retrieval.take(rows), labels[rows])]


def _given(
    model: TrainedModel, products: KnownProducts, given: Given, training: TrainingTables | None
) -> PromisedPictures:
    if given.images is not None:
        table = folder_table(given.images)
        named = {label: name for label, name in products.names.items() if name}
        labels, names = folder_labels(given.images, list(table.image_ids), named, products.first_new)
    else:
        assert given.annotations is not None
        data = model.recipe.data
        table = read_annotations(given.annotations, data.root, extra_roots=data.extra_roots)
        labels = _annotated(table, products, model, given.annotations)
        names = (
            dict(zip(labels.tolist(), (table.class_names[one] for one in table.labels))) if table.class_names else {}
        )
    name = f"given_{table.sha256[:16]}"
    table, labels, notes = _not_trained(training, table, labels)
    is_known, is_unseen = np.isin(labels, products.labels), ~np.isin(labels, products.labels) & (labels >= 0)
    known = Labelled(f"{name}_known", table.take(is_known), labels[is_known])
    unseen = Labelled(f"{name}_unseen", table.take(is_unseen), labels[is_unseen])
    told = {"pictures": str(given.place), "chose_model": False, "products_never_seen": [str(given.place)]}
    unseen_names = sorted(names[label] for label in set(unseen.labels.tolist()) & names.keys())
    return PromisedPictures(
        (known,) if len(known.labels) else (),
        (unseen,) if len(unseen.labels) else (),
        told,
        tuple(notes),
        tuple(unseen_names),
    )


def _annotated(table: Table, products: KnownProducts, model: TrainedModel, file: Path) -> np.ndarray:
    """(N,) int64: the products of annotated pictures, by name; by number where neither side has names."""
    if table.class_names is None or not products.names:
        if table.num_classes != model.num_classes:
            raise UserError(
                f"{file} has num_classes={table.num_classes} and the checkpoint {model.num_classes}, and without"
                " class_names on both sides nothing says which class is which. Add class_names."
            )
        return table.labels
    return np.append(products.labels_by_name(table.class_names), -1)[table.labels]


def _not_trained(
    training: TrainingTables | None, table: Table, labels: np.ndarray
) -> tuple[Table, np.ndarray, list[str]]:
    """The pictures that the model was not trained on, their labels, and a note where that cannot be known."""
    if training is None:
        return table, labels, ["the training annotations are not there, so no picture was compared with them"]
    rows = np.ones(len(table), dtype=bool)
    rows[leaked_rows(training.learned, table)] = False
    if not rows.all():
        trained = int((~rows).sum())
        warn(f"of the pictures {trained:,} {'was' if trained == 1 else 'were'} trained on, and left out")
    return table.take(rows), labels[rows], []


def _outside(one: Labelled, products: KnownProducts) -> Labelled:
    """The pictures that are not in the index: there each would find itself."""
    if not products.pictures:
        return one
    rows = np.array([str(one.table.path(row)) not in products.pictures for row in range(len(one.table))], dtype=bool)
    if rows.all():
        return one
    outside = int((~rows).sum())
    warn(f"{counted(outside, 'picture')} of {one.name} {are(outside)} in the index itself, and left out")
    return replace(one, table=one.table.take(rows), labels=one.labels[rows])


def _notes_on_val(model: TrainedModel) -> list[str]:
    """Why val is not quite new to the model."""
    notes = []
    if _metric(model) != NO_METRIC and not _chose_by_retrieval(model):
        notes.append(
            "the val pictures chose best_model among its epochs (eval.metric), so the promise is a little weaker than"
            " it says; give pictures that chose nothing, by --annotations FILE or --images DIR, or train with"
            " eval.choose_share=0.5 or eval.metric=none"
        )
    if any(not step["unmodified"] for step in model.recalibrations):
        notes.append(
            "the val pictures also chose how this checkpoint was changed after its training (as calibrate and grow"
            " do), which weakens the promise as well"
        )
    return notes


def _chose_by_retrieval(model: TrainedModel) -> bool:
    """Whether data.retrieval_json chose best_model, and val did not."""
    has_retrieval = model.checkpoint.manifest.get("retrieval_sha256") is not None
    return has_retrieval and _metric(model).startswith(RETRIEVAL_SCORES)


def _metric(model: TrainedModel) -> str:
    """The score that chose best_model."""
    return model.checkpoint.manifest.get("metric") or model.recipe.eval.metric


def say_pictures(found: PromisedPictures, num_known: int, num_unseen: int, num_products: int) -> None:
    """One line on the pictures, and one for each note."""
    of_unseen = f"{num_unseen:,} of {counted(num_products, 'product')}" if num_products else "none of products"
    photographs = [one.photographs for one in (*found.known, *found.unseen) if one.photographs is not None]
    if photographs:
        num_photographs = len(np.unique(np.concatenate(photographs)))
        say(
            f"boxes of {counted(num_photographs, 'photograph')}: {num_known:,} of known products, {of_unseen} never"
            " seen. Each photograph counts once"
        )
    else:
        say(f"pictures: {num_known:,} of known products, {of_unseen} never seen")
    if found.unseen_names:
        say(f"never seen are, by their names: {names_told(found.unseen_names)}")
    for note in found.notes:
        warn(note)


def group_names(model: TrainedModel, products: KnownProducts, training: TrainingTables | None) -> dict[int, str]:
    """label -> the family of each product that has one, by the training annotations; empty if these are not there."""
    if training is None or training.learned.groups is None or not same_names(training.learned, model):
        return {}
    answerable = set(products.labels.tolist())
    return {label: group for label, group in enumerate(training.learned.groups) if group and label in answerable}


def names_told(names: Sequence[str]) -> str:
    """The first of them, and how many there are besides."""
    more = len(names) - _NAMES_TOLD
    return in_line([*names[:_NAMES_TOLD], *([f"and {more:,} more"] if more > 0 else [])])
