"""The sets of a discovery run, by the role of each image. Legend: N images, C known classes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.rng import numpy_generator
from shelfmark.core.wording import counted
from shelfmark.data.annotations import read_annotations
from shelfmark.data.source_words import reads_files
from shelfmark.data.table import Table
from shelfmark.discovery.clusterers.fitted import learns_on_val
from shelfmark.engine.hooks import NO_METRIC
from shelfmark.pipelines.discover.files import EMBEDDED_SETS, EmbeddedSet, RunFiles, SetsFile
from shelfmark.recipe import Recipe, assemble

ROLES = ("labelled", "unlabelled", "val", "test")
Rows = dict[EmbeddedSet, np.ndarray]


def read_sets(recipe: Recipe) -> tuple[Table, SetsFile, Rows]:
    """The annotations, the content of sets.json, and the rows of each set.

    Known classes are the classes with a labelled image, except those kept apart for class-disjoint validation.
    """
    file, data = recipe.discovery.annotations, recipe.data
    if file is None:
        raise UserError(
            "discovery.annotations is not set; give one file with all images, each with a role: labelled, unlabelled,"
            " test or val. docs/discovery.md describes it."
        )
    table = read_annotations(file, data.root, data.extra_roots, check_files=reads_files(data.source))
    assemble.image_source(recipe, table)
    roles = _roles(table, file)
    rows: Rows = {name: np.flatnonzero(roles == name) for name in EMBEDDED_SETS}
    _require_images(rows, file)
    if recipe.discovery.max_images:
        rows = {name: _cut(table, rows[name], recipe.discovery.max_images) for name in EMBEDDED_SETS}
    _require_labels(table, rows, file)
    is_carved = not len(rows["val"]) and recipe.discovery.val_classes > 0
    if is_carved:
        rows = _carved(table, rows, recipe.discovery.val_classes, recipe.seed)
    known, val_classes = (np.unique(table.labels[rows[name]]) for name in ("labelled", "val"))
    shared = np.intersect1d(known, val_classes)
    if len(shared):
        raise UserError(
            f"{file}: {len(shared)} classes have both labelled and val images, such as category_id {shared[0]}. The"
            " validation chooses by classes that the model has not seen: give val images of other classes, or none;"
            " then discovery.val_classes of the labelled classes are kept apart."
        )
    truth = table.true_labels
    sets = SetsFile(
        annotations=os.path.abspath(file),
        annotations_sha256=table.sha256,
        root=str(table.root),
        extra_roots=tuple(os.path.abspath(root) for root in data.extra_roots),
        known_classes=tuple(known.tolist()),
        val_classes=tuple(val_classes.tolist()),
        val_is_carved=is_carved,
        images={name: len(rows[name]) for name in EMBEDDED_SETS},
        classes={name: len(np.unique(table.labels[rows[name]])) for name in ("labelled", "val", "test")},
        has_truth=truth is not None and bool((truth[rows["unlabelled"]] >= 0).any()),
    )
    return table, sets, rows


def set_table(run: RunFiles, name: EmbeddedSet) -> Table:
    """The images of a set, in the order of its rows. Labels: the number of the known class for labelled images, none
    for unlabelled images, whatever the file says, and the category_id for val and test."""
    table = run.table.take(run.rows(name))
    if name == "labelled":
        return relabelled(table, run.read_sets())
    if name == "unlabelled":
        return replace(table, labels=np.full(len(table), -1, dtype=np.int64), true_labels=None)
    return table


def relabelled(table: Table, sets: SetsFile) -> Table:
    """A table of known classes' images with labels 0..C-1, in the order of `sets.known_classes`."""
    known = np.asarray(sets.known_classes)
    names, groups = table.class_names, table.groups
    return replace(
        table,
        labels=np.searchsorted(known, table.labels),
        num_classes=len(known),
        class_names=tuple(names[label] for label in known) if names else None,
        groups=tuple(groups[label] for label in known) if groups else None,
        true_labels=None,
    )


def require_val_where_used(recipe: Recipe, sets: SetsFile) -> None:
    """Raises a UserError if an option needs val images and there are none."""
    options = recipe.discovery
    users = {
        f"eval.metric={recipe.eval.metric} chooses the best model (eval.metric=none takes the last)": (
            recipe.eval.metric != NO_METRIC
        ),
        "discovery.clusterer is fitted on them (fit_on=trained)": learns_on_val(options.clusterer),
        "discovery.selection.density_threshold is calibrated on them (give a number)": (
            options.selection.density_threshold is None
        ),
        "discovery.selection.join_known is calibrated on them (false)": options.selection.join_known,
    }
    used = [told for told, is_used in users.items() if is_used]
    if used and not sets.images["val"]:
        raise UserError(
            f"there are no val images, as discovery.val_classes={options.val_classes:g} keeps no class apart; but"
            f" {'; '.join(used)}. Set discovery.val_classes=0.2, or what stands in brackets."
        )


def tell_sets(sets: SetsFile) -> None:
    images, val = sets.images, "kept apart of the labelled" if sets.val_is_carved else "of role val"
    say(
        f"sets: {counted(images['labelled'], 'labelled image')} of {counted(len(sets.known_classes), 'known class')},"
        f" {images['unlabelled']} unlabelled, {images['val']} val of {counted(len(sets.val_classes), 'class')} {val},"
        f" {images['test']} test"
    )


def _roles(table: Table, file: Path) -> np.ndarray:
    if table.roles is None:
        raise UserError(f"{file}: no record has a role; each needs one of {', '.join(ROLES)}.")
    roles = np.array([table.roles[row] for row in range(len(table))])
    unknown = sorted(set(roles.tolist()) - set(ROLES))
    if unknown:
        row = int(np.flatnonzero(roles == unknown[0])[0])
        raise UserError(
            f"{file}: role={unknown[0]!r} of {table.paths[row]} is not one of {', '.join(ROLES)}; each record needs"
            " one."
        )
    return roles


def _require_images(rows: Rows, file: Path) -> None:
    for name in ("labelled", "unlabelled"):
        if not len(rows[name]):
            raise UserError(f"{file}: no record has role={name!r}; discovery needs labelled and unlabelled images.")


def _require_labels(table: Table, rows: Rows, file: Path) -> None:
    for name in ("labelled", "val", "test"):
        missing = rows[name][table.labels[rows[name]] < 0]
        if len(missing):
            raise UserError(
                f"{file}: {len(missing)} records of role={name!r} have no category_id, such as"
                f" {table.paths[int(missing[0])]}; only unlabelled ones may lack it."
            )


def _carved(table: Table, rows: Rows, fraction: float, seed: int) -> Rows:
    """A part of the labelled classes as val, whole groups at a time where the annotations have groups.

    Similar products are in one group, and thresholds learned on dissimilar classes would promise too much. Drawn among
    classes with at least two images: no search finds the only image of a class.
    """
    labels = table.labels[rows["labelled"]]
    classes, counts = np.unique(labels, return_counts=True)
    drawable = numpy_generator(seed, "discovery.val_classes").permutation(classes[counts > 1])
    num_val = max(2, round(fraction * len(classes)))
    if len(drawable) < 2 or num_val > len(classes) - 2:
        raise UserError(
            f"discovery.val_classes={fraction} of {len(classes)} labelled classes, {len(drawable)} of them with two"
            " images or more, cannot be kept apart with two classes on either side. Label more classes, or give images"
            " of other classes the role val."
        )
    is_val = np.isin(labels, _side_by_side(drawable, table.groups)[:num_val])
    return {**rows, "val": rows["labelled"][is_val], "labelled": rows["labelled"][~is_val]}


def _side_by_side(classes: np.ndarray, groups: tuple[str, ...] | None) -> np.ndarray:
    """The classes in an order where those of a group follow each other."""
    if groups is None:
        return classes
    _, first, group = np.unique([groups[label] for label in classes], return_index=True, return_inverse=True)
    return classes[np.argsort(first[group], kind="stable")]


def _cut(table: Table, rows: np.ndarray, most: int) -> np.ndarray:
    """About `most` of the rows: whole classes of labelled images, and evenly spread ones of unlabelled images."""
    if len(rows) <= most:
        return rows
    labels = table.labels[rows]
    if (labels < 0).any():
        return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
    classes, counts = np.unique(labels, return_counts=True)
    # Small classes first, so that there are several classes.
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 1] if (counts > 1).any() else order
    chosen = classes[order[: max(1, int(np.searchsorted(np.cumsum(counts[order]), most, side="right")))]]
    return rows[np.isin(labels, chosen)]
