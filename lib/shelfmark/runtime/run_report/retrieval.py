"""The neighbours of the images that a run is searched with, and the index beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import release_pages
from shelfmark.core.wording import counted
from shelfmark.data.sources import Picture
from shelfmark.data.table import Table
from shelfmark.evaluation.neighbour_sample import NeighbourSample, neighbour_sample
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.buckets import bucket_masks
from shelfmark.reports.run_page.retrieval import Retrieval, Strip
from shelfmark.retrieval.index_files import read_manifest
from shelfmark.runtime.retrieval_scores import query_gallery
from shelfmark.runtime.run_report.material import Material
from shelfmark.runtime.run_report.stored_run import or_none

MOST_QUERIES = 2000
_NEAREST = 10
_STRIPS = 3
_CMC = 20


def retrieval_of(material: Material, index_command: str) -> Retrieval | None:
    """Of the retrieval table or, without one, of val searched in itself; None where no query has a positive."""
    is_val = material.retrieval_features is None
    features = material.val_features if is_val else material.retrieval_features
    table = material.val if is_val else material.retrieval
    if features is None or table is None:
        return None
    recipe = material.model.recipe
    sides = query_gallery(recipe, features, None if is_val else table)
    metric = recipe.eval.retrieval_metric
    found = neighbour_sample(sides, MOST_QUERIES, _CMC, metric, recipe.seed, lambda: release_pages(features.features))
    if not len(found.queries):
        return None
    labels = sides.query_labels[found.queries]
    strips = _Strips(material, table, features, found, labels, sides.gallery_labels)
    return Retrieval(
        strips.by_place(),
        _cmc(found, labels, material if is_val else None),
        found.positive,
        found.negative,
        found.total,
        metric,
        tuple(_index_facts(material)),
        index_command,
        ("The worst queries",),
    )


def _cmc(found: NeighbourSample, labels: np.ndarray, of_classes: Material | None) -> dict[str, np.ndarray]:
    """group -> Recall@1, Recall@2 ...; of_classes: None where the labels are not the trained classes."""
    curve = found.hits.cumsum(axis=1) > 0
    groups = {"all": np.ones(len(labels), dtype=bool)}
    if of_classes is not None:
        model = of_classes.model
        counts = model.counts[labels]
        groups |= bucket_masks(counts, model.recipe.eval.many, model.recipe.eval.few)
    return {name: curve[mask].mean(axis=0) for name, mask in groups.items()}


class _Strips:
    def __init__(
        self,
        material: Material,
        table: Table,
        features: Embeddings,
        found: NeighbourSample,
        labels: np.ndarray,
        gallery_labels: np.ndarray,
    ) -> None:
        self.found, self.labels, self.gallery_labels = found, labels, gallery_labels
        self.source = material.source(table)
        rows = features.rows
        is_val = table is material.val
        is_divided = not is_val and table.is_query is not None and table.is_gallery is not None
        self.query_rows = rows[table.is_query[rows]] if is_divided and table.is_query is not None else rows
        self.gallery_rows = rows[table.is_gallery[rows]] if is_divided and table.is_gallery is not None else rows
        self.names = material.model.class_names if is_val else table.class_names

    def by_place(self) -> dict[str, tuple[Strip, ...]]:
        """The best, the middle and the worst queries, by how much nearer their positive is than any negative."""
        order = np.argsort(-self.found.margin, kind="stable")
        middle = max(0, (len(order) - _STRIPS) // 2)
        places = {
            "The worst queries": order[::-1][:_STRIPS],
            "In the middle": order[middle : middle + _STRIPS],
            "The best queries": order[:_STRIPS],
        }
        return {name: tuple(map(self._strip, chosen)) for name, chosen in places.items()}

    def _strip(self, place: int) -> Strip:
        found, label = self.found, int(self.labels[place])
        query = Picture(self.source, int(self.query_rows[found.queries[place]]))
        name = self._name(label)
        ahead = f"best positive {found.positive[place]:.2f}, hardest negative {found.negative[place]:.2f}"
        return Strip(
            name,
            (ahead, f"{int(found.hits[place, :_NEAREST].sum())} of the nearest {_NEAREST} are right"),
            Shown(query, f"Query: {name}", "query"),
            tuple(self._nearest(place)),
        )

    def _nearest(self, place: int) -> Iterator[Shown]:
        found = self.found
        columns = (found.nearest, found.similarity, found.hits)
        for row, score, hit in zip(*(column[place, :_NEAREST] for column in columns)):
            if row >= 0 and np.isfinite(score):
                name = self._name(int(self.gallery_labels[row]))
                picture = Picture(self.source, int(self.gallery_rows[row]))
                yield Shown(picture, f"Neighbour: {name}", f"{score:.2f} {name}", "right" if hit else "wrong")

    def _name(self, label: int) -> str:
        if label < 0:
            return "no label"
        return self.names[label] if self.names else str(label)


def _index_facts(material: Material) -> Iterator[tuple[str, ...]]:
    """Of each index in the run folder that was tuned: its name, its recall, how it searches."""
    for folder in sorted(material.run.folder.glob("index*")):
        manifest = _manifest(folder)
        recall = manifest.get("recall")
        if not recall:
            continue
        error = f" \N{PLUS-MINUS SIGN} {100 * recall['error']:.1f}" if recall.get("error") else ""
        said = f"{100 * recall['measured']:.1f}%{error} of {counted(recall['num_queries'], 'query')}"
        parameters = ", ".join(f"{name} {value}" for name, value in manifest["parameters"].items())
        yield folder.name, said, f"{manifest['kind']}: {parameters}" if parameters else manifest["kind"]


def _manifest(folder: Path) -> Mapping[str, Any]:
    return or_none(lambda: read_manifest(folder)) or {}
