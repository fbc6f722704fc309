"""Findings about labels: doubtful ones, two for one product, and classes with too few pictures.

Legend: N pictures, C classes, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.cleaning.suspects import WEAK_BELOW, Suspects, find_suspects, images_to_leave
from shelfmark.core.log import warn
from shelfmark.doctor.class_faults import few_classes, twin_classes
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.pipelines.doctor.copies import Copies
from shelfmark.pipelines.doctor.diagnosis import Culprits, Finding

NO_FEATURES = (
    "it needs a network: name one with --RESUME_MODEL CKPT, or --model tf_efficientnet_lite0 for published weights"
)
OF_BOXES = "labels are of boxes, and these features of whole images; `shelfmark clean` judges each box"
_DOUBTFUL = ("image_id", "class", "suggested", "suspicion", "path")
_TWINS = ("class", "other_class", "chance", "images", "images_of_other")
_FEW = ("class", "label", "images")
_SHOWN_OF_CLASS = 4


@dataclass(frozen=True, eq=False)
class JudgedLabels:
    """pictures: (n,) int64, the readable ones of train. suspects, leaves: of these, see `cleaning.suspects`."""

    pictures: np.ndarray
    suspects: Suspects
    leaves: np.ndarray


def judged_labels(listings: Listings, is_read: np.ndarray, features: np.ndarray) -> JudgedLabels | None:
    """The labels of train, by features (n, D) of the readable pictures in their order; None without two classes, and
    where labels are of boxes, not of pictures."""
    if listings.tables[TRAIN].boxes is not None:
        return None
    labels = listings.train_labels()[is_read]
    rows = np.flatnonzero(labels >= 0)
    if len(np.unique(labels[rows])) < 2:
        return None
    suspects = find_suspects(np.asarray(features)[rows], labels[rows])
    leaves = images_to_leave(suspects)
    if leaves.any() and suspects.accuracy < WEAK_BELOW:
        warn(
            f"these features find the given class of only {suspects.accuracy:.0%} of the training images, so most of"
            f" the {int(leaves.sum()):,} doubtful labels are likely false alarms; a network trained on these classes is"
            " surer"
        )
    return JudgedLabels(np.flatnonzero(is_read)[rows], suspects, leaves)


def label_findings(
    judged: JudgedLabels | None, listings: Listings, copies: Copies, is_read: np.ndarray, features: np.ndarray | None
) -> list[Finding]:
    """Doubtful labels, and two labels for one product; features: (n, D) of the readable pictures, None without."""
    if features is None or judged is None:
        why_not = "fewer than two classes have a training image that can be read"
        if listings.tables[TRAIN].boxes is not None:
            why_not = OF_BOXES
        why_not = NO_FEATURES if features is None else why_not
        return [Finding(name, why_not=why_not) for name in ("doubtful_labels", "one_product")]
    if judged.suspects.accuracy < WEAK_BELOW:
        # Such features cannot tell many products apart, and would call them one.
        why_not = f"these features find the given class of {judged.suspects.accuracy:.0%} of the training images only"
        return [_doubtful(judged, listings), Finding("one_product", why_not=why_not)]
    return [_doubtful(judged, listings), _twins(judged.pictures, listings, copies, is_read, features)]


def few_finding(
    listings: Listings, copies: Copies, is_read: np.ndarray, is_outside: np.ndarray
) -> tuple[Finding, np.ndarray]:
    """The classes with too few pictures, and how many (C,) each has. is_outside: (listings,) of `boxes_outside`."""
    table = listings.tables[TRAIN]
    # A photograph with boxes has a listing for each, of other classes.
    rows = np.flatnonzero(listings.split == listings.splits.index(TRAIN))
    rows = rows[is_read[listings.picture[rows]] & ~is_outside[rows]]
    labels, pictures_of = listings.labels[rows], listings.picture[rows]
    few, counts = few_classes(labels, copies.parts[pictures_of], table.num_classes)
    culprits = []
    order = np.lexsort((pictures_of, labels))
    begins = np.searchsorted(labels[order], np.arange(table.num_classes + 1))
    for label in few.tolist():
        pictures = tuple(np.unique(pictures_of[order[begins[label] : begins[label + 1]]]).tolist())
        row = (_class_name(listings, label), label, int(counts[label]))
        culprits.append(Culprits(pictures, (row,), title=row[0], facts=(f"{row[2]}",)))
    return Finding("few_images", _FEW, culprits), counts


def _doubtful(judged: JudgedLabels, listings: Listings) -> Finding:
    suspects, culprits = judged.suspects, []
    ranked = suspects.ranking
    for place in ranked[judged.leaves[ranked]].tolist():
        picture = int(judged.pictures[place])
        listing = int(listings.of_picture(picture)[0])
        named, better = (_class_name(listings, int(one[place])) for one in (suspects.labels, suspects.suggested))
        suspicion = f"{suspects.suspicion[place]:.3f}"
        row = (listings.image_id(listing), named, better, suspicion, listings.paths[picture])
        culprits.append(Culprits((picture,), (row,), notes=(f"{named}; rather {better}; {suspicion}",)))
    return Finding("doubtful_labels", _DOUBTFUL, culprits)


def _twins(
    pictures: np.ndarray, listings: Listings, copies: Copies, is_read: np.ndarray, features: np.ndarray
) -> Finding:
    labels = listings.train_labels()
    _, first = np.unique(
        copies.parts[pictures] * listings.tables[TRAIN].num_classes + labels[pictures], return_index=True
    )
    once = pictures[np.sort(first)]
    rows = np.searchsorted(np.flatnonzero(is_read), once)
    found = twin_classes(np.asarray(features)[rows], labels[once])
    counts = np.bincount(labels[once], minlength=listings.tables[TRAIN].num_classes)
    culprits = []
    for one, two, chance in zip(found.first.tolist(), found.second.tolist(), found.chance.tolist()):
        names = [_class_name(listings, label) for label in (one, two)]
        shown = [once[labels[once] == label][:_SHOWN_OF_CLASS].tolist() for label in (one, two)]
        notes = tuple(name for name, some in zip(names, shown) for _ in some)
        row = (*names, f"{chance:.3f}", int(counts[one]), int(counts[two]))
        culprits.append(
            Culprits(
                (*shown[0], *shown[1]),
                (row,),
                " and ".join(names),
                (f"{row[2]} of random divisions set them as far apart",),
                notes,
            )
        )
    return Finding("one_product", _TWINS, culprits)


def _class_name(listings: Listings, label: int) -> str:
    names = listings.tables[TRAIN].class_names
    return names[label] if names else str(label)
