"""`shelfmark discover assign`: new photographs to the products that a run knows or found, without clustering again.

Legend: Q photographs, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.rng import derive_seed
from shelfmark.discovery import known
from shelfmark.discovery.products import nearest_to_means, unit_means
from shelfmark.pipelines.discover.files import EmbeddedSet, RunFiles
from shelfmark.pipelines.discover.findings import class_name
from shelfmark.pipelines.discover.review.apply import reviewed
from shelfmark.predictions.answers import answered, candidate, unanswered
from shelfmark.reports.tables import write_table
from shelfmark.retrieval import search
from shelfmark.runtime.photographs import embed_photographs, listed
from shelfmark.runtime.trained_model import open_model

Kind = Literal["known", "new", "unknown"]


@dataclass(frozen=True)
class Assignment:
    """The answer for one photograph. error: why it could not be read; all other fields are then empty.

    kind: a known class, a new product of the run, or unknown if no product is near enough. The other fields are of the
    nearest product, near enough or not: category_id of a known class, cluster of a new product in the round's
    review.csv (-1 where an earlier round found it), its name, the cosine with its mean, and the path of the image that
    is nearest to that mean. second and what begins with it: of the next product.
    """

    photo: str
    kind: Kind | None = None
    name: str = ""
    category_id: int | None = None
    cluster: int | None = None
    cosine: float | None = None
    second: str = ""
    second_category_id: int | None = None
    second_cluster: int | None = None
    second_cosine: float | None = None
    path: str = ""
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """In the form of `predictions.answers`: a new product has `cluster` and no `class`."""
        if self.error is not None:
            return unanswered(self.photo, self.error)
        found = [candidate(self.category_id, self.name, self.cosine, cluster=self.cluster, path=self.path)]
        if self.second_cosine is not None:
            next_one = (self.second_category_id, self.second, self.second_cosine)
            found.append(candidate(*next_one, cluster=self.second_cluster))
        return answered(self.photo, found, is_known=self.kind != "unknown")


@dataclass(frozen=True, eq=False)
class Products:
    """The products that photographs are compared with.

    means: (products, D) of length 1. rows: (products,) of the table, the image nearest to each mean. category_ids:
    (products,) of known classes, -1 for a new product. clusters: (products,) of new products, -1 for a known class.
    """

    names: tuple[str, ...]
    category_ids: np.ndarray
    clusters: np.ndarray
    means: np.ndarray
    rows: np.ndarray


def assign(
    folder: Path,
    photos: Sequence[Path],
    *,
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
) -> list[Assignment]:
    """An answer for each photograph, from the last finished round of the run in `folder`.

    A photograph joins the product with the nearest mean if their cosine reaches a threshold. The threshold is
    calibrated, for discovery.selection.join_precision, on the classes that the run kept for validation; see
    `photo_rule`. A folder among the photographs stands for those in it. checkpoint: where the round's model lies now,
    if it was moved.
    """
    photos = listed(photos)
    run = RunFiles(folder)
    run.read_sets()
    if not run.finished_rounds:
        raise UserError(f"{folder} has no finished round yet. `shelfmark discover` goes on with it.")
    number = run.finished_rounds[-1]
    products = known_and_found(run, number)
    model = open_model(checkpoint or run.model(number), list(overrides))
    recipe = model.recipe
    rule = photo_rule(run, number, recipe.discovery.selection.join_precision, recipe.seed)
    embedded = embed_photographs(model, photos)
    answers = [Assignment(str(photo), error=embedded.errors.get(row)) for row, photo in enumerate(photos)]
    names = [str(photos[row]) for row in embedded.rows]
    for row, answer in zip(embedded.rows, answers_of(run, products, rule, embedded.features, names)):
        answers[row] = answer
    return answers


def answers_of(
    run: RunFiles, products: Products, rule: known.JoinRule, features: np.ndarray, photos: Sequence[str]
) -> list[Assignment]:
    """For each photograph, with features (Q, D), the nearest product, and whether it is near enough."""
    if not len(features):
        return []
    num_shown = min(2, len(products.names))
    cosines, places = search(features.astype(np.float64), products.means, k=num_shown, metric="cosine")
    answers = []
    for photo, cosine, place in zip(photos, cosines, places):
        best, is_second = int(place[0]), num_shown > 1
        category, cluster = _numbers(products, best)
        next_category, next_cluster = _numbers(products, int(place[1])) if is_second else (None, None)
        is_near = rule.threshold is not None and cosine[0] >= rule.threshold
        answers.append(
            Assignment(
                photo,
                kind="unknown" if not is_near else "new" if category is None else "known",
                name=products.names[best],
                category_id=category,
                cluster=cluster,
                cosine=float(cosine[0]),
                second=products.names[int(place[1])] if is_second else "",
                second_category_id=next_category,
                second_cluster=next_cluster,
                second_cosine=float(cosine[1]) if is_second else None,
                path=str(run.table.path(int(products.rows[best]))),
            )
        )
    return answers


def _numbers(products: Products, place: int) -> tuple[int | None, int | None]:
    """The category id of a known class, or else the cluster of a new product; the other is None."""
    category = int(products.category_ids[place])
    return (category, None) if category >= 0 else (None, int(products.clusters[place]))


def known_and_found(run: RunFiles, number: int) -> Products:
    """The labelled classes, including those kept for validation, and the new products of a round, as reviewed."""
    sets, table = run.read_sets(), run.table
    parts = []
    labelled: tuple[tuple[EmbeddedSet, tuple[int, ...]], ...] = (
        ("labelled", sets.known_classes),
        ("val", sets.val_classes),
    )
    for name, classes in labelled:
        if classes and run.embedded(number, name).is_dir():
            embeddings = run.read_embeddings(number, name)
            parts.append(_classes(embeddings, table.labels[embeddings.rows], np.asarray(classes)))
    labels, names = reviewed(run, number)
    selection, num_known = run.read_selection(number), len(sets.known_classes)
    unlabelled = run.read_embeddings(number, "unlabelled")
    is_new = labels >= num_known
    groups, first = np.unique(labels[is_new], return_index=True)
    clusters = selection.clusters[is_new][first]
    label_of = dict(zip(selection.rows[is_new].tolist(), labels[is_new].tolist()))
    of_image = np.array([label_of.get(int(row), -1) for row in unlabelled.rows], dtype=np.int64)
    means, rows = _means(unlabelled, of_image, groups)
    found_names = [
        names.get(int(label)) or (f"new {cluster}" if cluster >= 0 else f"pseudo-class {label}")
        for label, cluster in zip(groups, clusters)
    ]
    categories = np.concatenate([part[0] for part in parts])
    return Products(
        (*(class_name(table, int(category)) for category in categories), *found_names),
        np.concatenate([categories, np.full(len(groups), -1)]),
        np.concatenate([np.full(len(categories), -1), clusters]),
        np.concatenate([*(part[1] for part in parts), means]),
        np.concatenate([*(part[2] for part in parts), rows]),
    )


def photo_rule(run: RunFiles, number: int, precision: float, seed: int = 0) -> known.JoinRule:
    """The least cosine at which a photograph joins a product, learned on classes that the model was not trained on.

    Half of the classes of val play new products, and part of the images of the other half play new photographs. The
    rule is the lowest cosine at which a share of `precision` of the joined photographs is right. Without val it is
    learned on the labelled images, which the model was trained on, and promises too much.
    """
    name: EmbeddedSet = "val" if run.embedded(number, "val").is_dir() else "labelled"
    embeddings = run.read_embeddings(number, name)
    rule = known.calibrate(
        torch.from_numpy(np.array(embeddings.features)),
        torch.from_numpy(run.table.labels[embeddings.rows]),
        precision,
        clusters_of=lambda pool: torch.arange(len(pool)),
        seed=derive_seed(seed, "discovery.assign", number),
    )
    if rule.threshold is None:
        warn(f"every photograph stays unknown: {rule.reason}")
    else:
        say(
            f"a photograph joins a product at cosine {rule.threshold:.3f}; on {name} {100 * (rule.precision or 0):.0f}%"
            f" of those that join are right, and {100 * (rule.coverage or 0):.0f}% of those of known products join"
        )
    return rule


def assigned_rows(answers: Sequence[Assignment]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text for a table on screen, one row for each readable photograph."""
    rows = [
        [
            answer.photo,
            answer.kind or "",
            answer.name,
            "" if answer.cosine is None else f"{answer.cosine:.3f}",
            answer.second if answer.second_cosine is None else f"{answer.second} ({answer.second_cosine:.3f})",
        ]
        for answer in answers
        if answer.error is None
    ]
    return ["photo", "is", "product", "cosine", "next"], rows


def write_assigned(answers: Sequence[Assignment], file: Path) -> None:
    """Writes a CSV file with a row for each photograph: the fields of `Assignment`, empty where there is no value."""
    columns = [field.name for field in fields(Assignment)]
    rows = [{name: "" if value is None else value for name, value in asdict(answer).items()} for answer in answers]
    write_table(file, rows, columns)


def _classes(
    embeddings: Embeddings, labels: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes that have an image here: category ids, means, and the row of the image nearest to each mean."""
    present = classes[np.isin(classes, labels)]
    return present, *_means(embeddings, labels, np.sort(present), np.argsort(np.argsort(present)))


def _means(
    embeddings: Embeddings, labels: np.ndarray, groups: np.ndarray, order: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(products, D) and (products,) of the images whose label is one of the rising `groups`, in `order` of them."""
    rows = np.flatnonzero(np.isin(labels, groups))
    place = np.searchsorted(groups, labels[rows])
    means = unit_means(embeddings.features, rows, place, len(groups))
    nearest = embeddings.rows[nearest_to_means(embeddings.features, rows, place, means)]
    return (means, nearest) if order is None else (means[order], nearest[order])
