"""Applies the review of a round: the labels and names for the next round. Legend: U unlabelled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shelfmark.core.files import unused_path, write_text
from shelfmark.core.log import say
from shelfmark.discovery.rounds import Selection, inherited_names, kept_selection
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.findings import RoundFindings, findings_of, known_names
from shelfmark.pipelines.discover.review.decisions import Review, read_review
from shelfmark.pipelines.discover.review.table import are_of_same_clusters, is_edited, review_csv


def reviewed(run: RunFiles, number: int) -> tuple[np.ndarray, dict[int, str]]:
    """(U,) labels of the round's selection after its present review.csv, and the names of pseudo-classes by label.

    A name comes from this review, or else from that of an earlier round, see `inherited_names`.
    """
    selection, num_known = run.read_selection(number), len(run.read_sets().known_classes)
    labels, given = read_round_review(run, number).applied(selection.labels, selection.clusters, num_known)
    kept = set(np.unique(labels).tolist())
    taken = set(given.values())
    before = _names_before_review(run, number, labels)
    return labels, {label: name for label, name in before.items() if label in kept and name not in taken} | given


def kept_before(run: RunFiles, number: int, reselect: bool, rows: np.ndarray) -> tuple[Selection, dict[int, str]]:
    """The images at `rows` (U,) that earlier rounds selected for good, and the names of their pseudo-classes."""
    if not number or reselect:
        return Selection.of_nothing(rows), {}
    labels, names = reviewed(run, number - 1)
    return kept_selection(run.read_selection(number - 1), labels, names, rows, len(run.read_sets().known_classes))


def read_round_review(run: RunFiles, number: int) -> Review:
    """The decisions of the round's review.csv; no decisions if there is no file."""
    file = run.review(number)
    if not file.is_file():
        return Review({})
    selection = run.read_selection(number)
    clusters = np.unique(selection.clusters[selection.is_selected])
    return read_review(file, clusters[clusters >= 0].tolist(), known_names(run.table, run.read_sets().known_classes))


def round_findings(run: RunFiles, number: int) -> RoundFindings:
    """The findings of a round whose selection is done, with the names from earlier reviews."""
    return findings_of(run, number, _names_before_review(run, number, run.read_selection(number).labels))


def write_review(run: RunFiles, number: int, findings: RoundFindings | None = None) -> Path:
    """Writes review.csv of a round, a row a selected cluster, largest first, and returns its path.

    An edited table is never overwritten. If it has the same clusters it stays; otherwise it is renamed, with a note.
    """
    file = run.review(number)
    text = review_csv(findings or round_findings(run, number))
    if file.is_file() and file.read_bytes() != text.encode():
        if are_of_same_clusters(file.read_bytes(), text.encode()):
            say(f"{file} is about these clusters already, and stays as it was edited")
            return file
        aside = unused_path(file)
        file.rename(aside)
        say(f"{file} was about other clusters; it is now {aside.name}")
    write_text(file, text)
    return file


def set_aside_review(run: RunFiles, number: int) -> None:
    """Moves an edited review.csv out of the report's folder, before the folder is removed, and prints its new place."""
    file = run.review(number)
    if file.is_file() and is_edited(file):
        aside = unused_path(run.round(number) / file.name)
        file.rename(aside)
        say(f"the edited {file} is now {aside}")


def _names_before_review(run: RunFiles, number: int, labels: np.ndarray) -> dict[int, str]:
    """The names that reviews of earlier rounds gave to the pseudo-classes in `labels` (U,)."""
    if not number:
        return run.read_names(number)
    return inherited_names(
        run.read_selection(number).rows,
        labels,
        run.read_selection(number - 1).rows,
        *reviewed(run, number - 1),
        run.read_names(number),
        len(run.read_sets().known_classes),
    )
