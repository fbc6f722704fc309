"""A round as its review wants it: the labels and names that the next round trains on. Legend: U unlabelled images."""

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
    """(U,) labels of the round's selection as its review.csv wants them now, and names of pseudo-classes by label.

    A name is what the review gives; else what an earlier round's review gave, see `inherited_names`.
    """
    selection, num_known = run.read_selection(number), len(run.read_sets().known_classes)
    labels, given = read_round_review(run, number).applied(selection.labels, selection.clusters, num_known)
    kept = set(np.unique(labels).tolist())
    taken = set(given.values())
    before = _names_before_review(run, number, labels)
    return labels, {label: name for label, name in before.items() if label in kept and name not in taken} | given


def kept_before(run: RunFiles, number: int, reselect: bool, rows: np.ndarray) -> tuple[Selection, dict[int, str]]:
    """What earlier rounds selected for good among the images at `rows` (U,), and the names of its pseudo-classes."""
    if not number or reselect:
        return Selection.of_nothing(rows), {}
    labels, names = reviewed(run, number - 1)
    return kept_selection(run.read_selection(number - 1), labels, names, rows, len(run.read_sets().known_classes))


def read_round_review(run: RunFiles, number: int) -> Review:
    """What the round's review.csv says; nothing is decided where there is none."""
    file = run.review(number)
    if not file.is_file():
        return Review({})
    selection = run.read_selection(number)
    clusters = np.unique(selection.clusters[selection.is_selected])
    return read_review(file, clusters[clusters >= 0].tolist(), known_names(run.table, run.read_sets().known_classes))


def round_findings(run: RunFiles, number: int) -> RoundFindings:
    """What a round found whose selection is done, with the names that earlier reviews gave."""
    return findings_of(run, number, _names_before_review(run, number, run.read_selection(number).labels))


def write_review(run: RunFiles, number: int, findings: RoundFindings | None = None) -> Path:
    """Writes review.csv of a round, a row a selected cluster, largest first, and returns its path.

    A table that a person has edited is never overwritten: it stays if it is about the same clusters, and is renamed
    otherwise, which is said.
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
    """Moves an edited review.csv out of the report's folder, before that is removed, and says where it is."""
    file = run.review(number)
    if file.is_file() and is_edited(file):
        aside = unused_path(run.round(number) / file.name)
        file.rename(aside)
        say(f"the edited {file} is now {aside}")


def _names_before_review(run: RunFiles, number: int, labels: np.ndarray) -> dict[int, str]:
    """Names of the pseudo-classes in `labels` (U,) of a round that persons gave in the rounds before it."""
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
