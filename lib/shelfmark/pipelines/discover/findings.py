"""The findings of a round, read from its files. Legend: U unlabelled images, C known classes, D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.data.sources import FileSource, Picture
from shelfmark.data.table import Table
from shelfmark.discovery.products import FoundProducts, found_products, nearest_to_means, unit_means
from shelfmark.discovery.rounds import Selection
from shelfmark.evaluation.found_classes import known_first
from shelfmark.pipelines.discover.files import RunFiles, SetsFile


@dataclass(frozen=True, eq=False)
class RoundFindings:
    """A round, ready to be shown.

    true_labels: (U,) int64, a known class 0..C-1, other classes from C on, -1 for none; for the report alone.
    known_names: (C,). names: label -> name, of the pseudo-classes that a person named. known_rows: (C,) for each known
    class the table row of the image nearest to its mean, -1 for none.
    """

    sets: SetsFile
    table: Table
    selection: Selection
    true_labels: np.ndarray
    products: FoundProducts
    known_names: tuple[str, ...]
    names: dict[int, str]
    known_rows: np.ndarray

    def picture(self, row: int) -> Picture:
        return Picture(FileSource.of(self.table), row)

    def name(self, label: int) -> str:
        """The name of a class: that of a known class, a person's for a pseudo-class, or else its number."""
        if label < len(self.known_names):
            return self.known_names[label]
        return self.names.get(label, f"pseudo-class {label}")

    def true_name(self, true_label: int) -> str:
        """The name, in the annotations, of a class of `true_labels`."""
        if true_label < len(self.known_names):
            return self.known_names[true_label]
        return class_name(self.table, true_label - len(self.known_names))

    def suggested_name(self, place: int) -> str:
        """A group's name: that of the known class that it joined, its own, or `new` and the cluster's number."""
        label, cluster = int(self.products.labels[place]), int(self.products.clusters[place])
        return self.name(label) if self.has_name(place) or cluster < 0 else f"new {cluster}"

    def title(self, place: int) -> str:
        """The suggested name of a group, as a heading."""
        name = self.suggested_name(place)
        return name if self.has_name(place) else name[:1].upper() + name[1:]

    def has_name(self, place: int) -> bool:
        """Whether the annotations or a person named a group."""
        label = int(self.products.labels[place])
        return label < len(self.known_names) or label in self.names


def findings_of(run: RunFiles, number: int, names: dict[int, str]) -> RoundFindings:
    """The findings of a round whose selection is done. names: label -> name, of pseudo-classes."""
    sets, table, selection = run.read_sets(), run.table, run.read_selection(number)
    num_known = len(sets.known_classes)
    labelled = run.read_embeddings(number, "labelled")
    labels = known_first(table.labels[labelled.rows], sets.known_classes)
    rows = np.flatnonzero((labels >= 0) & (labels < num_known))
    means = unit_means(labelled.features, rows, labels[rows], num_known)
    nearest = nearest_to_means(labelled.features, rows, labels[rows], means)
    features = features_at(run.read_embeddings(number, "unlabelled"), selection.rows)
    truth = np.full(len(selection.rows), -1) if table.true_labels is None else table.true_labels[selection.rows]
    return RoundFindings(
        sets=sets,
        table=table,
        selection=selection,
        true_labels=known_first(truth, sets.known_classes),
        products=found_products(features, selection.labels, selection.clusters, selection.density, means),
        known_names=known_names(table, sets.known_classes),
        names=names,
        known_rows=np.where(nearest >= 0, labelled.rows[nearest], -1),
    )


def known_names(table: Table, known_classes: tuple[int, ...]) -> tuple[str, ...]:
    """(C,) the class's name in the annotations, or `class` and its category_id."""
    return tuple(class_name(table, category) for category in known_classes)


def class_name(table: Table, category_id: int) -> str:
    return table.class_names[category_id] if table.class_names else f"class {category_id}"


def features_at(embeddings: Embeddings, rows: np.ndarray) -> np.ndarray:
    """(U, D) features of the images at the table's `rows`, in that order."""
    if np.array_equal(embeddings.rows, rows):
        return embeddings.features
    order = np.argsort(embeddings.rows)
    return embeddings.features[order[np.searchsorted(embeddings.rows, rows, sorter=order)]]
