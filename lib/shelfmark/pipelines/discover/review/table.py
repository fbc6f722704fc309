"""A person's word on what a round found: a table to edit, and what the edited table says.

Legend: U unlabelled images, C known classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shelfmark.core.errors import UserError, nearest
from shelfmark.core.files import unused_path, write_text
from shelfmark.core.log import say
from shelfmark.core.regular_files import read_regular
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.finds import RoundFindings, finds_of, known_names

Choice = Literal["keep", "merge", "drop"]
COLUMNS = (
    "cluster",
    "size",
    "selected",
    "density",
    "joined_to",
    "nearest_known",
    "known_cosine",
    "nearest_cluster",
    "cluster_cosine",
    "suggested_name",
    "decision",
    "merge_into",
    "name",
)
_CHOICES: tuple[Choice, ...] = ("keep", "merge", "drop")
_NEEDED = ("cluster", "decision")
_CLASS = "class:"


@dataclass(frozen=True)
class Decision:
    """What becomes of a cluster. into_cluster, into_class: one of the two for `merge`. name: empty for none."""

    choice: Choice = "keep"
    into_cluster: int | None = None
    into_class: int | None = None
    name: str = ""


KEEP = Decision()


@dataclass(frozen=True)
class Review:
    """decisions: by cluster; one that is absent is kept."""

    decisions: Mapping[int, Decision]

    @property
    def changes_nothing(self) -> bool:
        return all(decision == KEEP for decision in self.decisions.values())

    def applied(self, labels: np.ndarray, clusters: np.ndarray, num_known: int) -> tuple[np.ndarray, dict[int, str]]:
        """(U,) int64 labels as the review wants them, and the names of pseudo-classes by their label.

        labels, clusters: (U,) of the selection; images of cluster -1 stay as they are. A dropped cluster's images get
        -1, a merged one's the label of what it is merged into. A cluster that joined a known class and is given a
        name becomes a pseudo-class of its own, with a label above all others. Labels are not numbered anew.
        """
        selected = np.flatnonzero((labels >= 0) & (clusters >= 0))
        present, first = np.unique(clusters[selected], return_index=True)
        label_of = {int(cluster): int(labels[selected[place]]) for cluster, place in zip(present, first)}
        names: dict[int, str] = {}
        unused = max([num_known - 1, *label_of.values(), int(labels.max(initial=-1))]) + 1
        for cluster in sorted(label_of):
            decision = self.decisions.get(cluster, KEEP)
            if decision.choice == "keep" and decision.name:
                if label_of[cluster] < num_known:
                    label_of[cluster], unused = unused, unused + 1
                names[label_of[cluster]] = decision.name
        wanted = np.array([self._label(int(cluster), label_of) for cluster in present], dtype=np.int64)
        found = labels.copy()
        found[selected] = wanted[np.searchsorted(present, clusters[selected])]
        return found, names

    def _label(self, cluster: int, label_of: Mapping[int, int]) -> int:
        decision = self.decisions.get(cluster, KEEP)
        while decision.choice == "merge" and decision.into_cluster is not None:
            cluster = decision.into_cluster
            decision = self.decisions.get(cluster, KEEP)
        if decision.choice == "drop":
            return -1
        return label_of[cluster] if decision.into_class is None else decision.into_class


def reviewed(run: RunFiles, number: int) -> tuple[np.ndarray, dict[int, str]]:
    """(U,) labels of the round's selection as its review.csv wants them now, and names of pseudo-classes by label.

    A name is what the review gives, else what an earlier round's review gave: see `names_before_review`.
    """
    selection, num_known = run.read_selection(number), len(run.read_sets().known_classes)
    labels, given = read_round_review(run, number).applied(selection.labels, selection.clusters, num_known)
    kept = set(np.unique(labels).tolist())
    taken = set(given.values())
    before = names_before_review(run, number, labels)
    return labels, {label: name for label, name in before.items() if label in kept and name not in taken} | given


def names_before_review(run: RunFiles, number: int, labels: np.ndarray) -> dict[int, str]:
    """Names of the pseudo-classes in `labels` (U,) of a round that persons gave in the rounds before it.

    A pseudo-class that is selected anew takes over the name that more than half of its images had; of two that would
    have the same name, the one with more of them does.
    """
    names = run.read_names(number)
    if not number:
        return names
    earlier_labels, earlier_names = reviewed(run, number - 1)
    earlier_rows, rows = run.read_selection(number - 1).rows, run.read_selection(number).rows
    label_of = dict(zip(earlier_rows.tolist(), earlier_labels.tolist()))
    before = np.array([label_of.get(row, -1) for row in rows.tolist()], dtype=np.int64)
    is_named = np.isin(before, list(earlier_names)) & (labels >= len(run.read_sets().known_classes))
    pairs, counts = np.unique(np.stack([before[is_named], labels[is_named]]), axis=1, return_counts=True)
    for place in np.argsort(-counts, kind="stable"):
        name, label = earlier_names[int(pairs[0, place])], int(pairs[1, place])
        is_most = 2 * counts[place] > (labels == label).sum()
        if is_most and label not in names and name not in names.values():
            names[label] = name
    return names


def set_aside_review(run: RunFiles, number: int) -> None:
    """Moves an edited review.csv out of the report's folder, before that is removed, and says where it is."""
    file = run.review(number)
    if not file.is_file():
        return
    try:
        is_edited = any(
            cells.get(name, "").lower() not in ("", "keep")
            for _, cells in _rows(file)
            for name in ("decision", "merge_into", "name")
        )
    except UserError:
        is_edited = True
    if is_edited:
        aside = unused_path(run.round(number) / file.name)
        file.rename(aside)
        say(f"the edited {file} is now {aside}")


def read_round_review(run: RunFiles, number: int) -> Review:
    """What the round's review.csv says; nothing is decided where there is none."""
    file = run.review(number)
    if not file.is_file():
        return Review({})
    selection = run.read_selection(number)
    clusters = np.unique(selection.clusters[selection.is_selected])
    return read_review(file, clusters[clusters >= 0].tolist(), known_names(run.table, run.read_sets().known_classes))


def round_finds(run: RunFiles, number: int) -> RoundFindings:
    """Of a round whose selection is done, with the names that earlier reviews gave."""
    return finds_of(run, number, names_before_review(run, number, run.read_selection(number).labels))


def write_review(run: RunFiles, number: int, finds: RoundFindings | None = None) -> Path:
    """Writes review.csv of a round, a row a selected cluster, largest first, and returns its path.

    A table that a person has edited is never overwritten: it stays where it is about the same clusters, and else it is
    renamed, which is said.
    """
    file = run.review(number)
    text = review_csv(finds or round_finds(run, number))
    if file.is_file() and file.read_bytes() != text.encode():
        if _sizes(file.read_bytes()) == _sizes(text.encode()):
            say(f"{file} is about these clusters already, and stays as it was edited")
            return file
        aside = unused_path(file)
        file.rename(aside)
        say(f"{file} was about other clusters; it is now {aside.name}")
    write_text(file, text)
    return file


def review_csv(finds: RoundFindings) -> str:
    """The table as text. It begins with a byte-order mark, without which spreadsheets take UTF-8 for something else."""
    products = finds.products
    reviewable = np.flatnonzero(products.clusters >= 0)
    order = reviewable[np.lexsort((products.clusters[reviewable], -products.num_images[reviewable]))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for place in order:
        known, other = int(products.nearest_known[place]), int(products.nearest_other[place])
        other_cluster = int(products.clusters[other]) if other >= 0 else -1
        label = int(products.labels[place])
        rows.writerow(
            [
                products.clusters[place],
                products.cluster_sizes[place],
                products.num_images[place],
                f"{products.density[place]:.4f}",
                finds.known_names[label] if label < products.num_known else "",
                finds.known_names[known] if known >= 0 else "",
                _cosine(products.known_cosine[place]),
                other_cluster if other_cluster >= 0 else "",
                _cosine(products.other_cosine[place]) if other_cluster >= 0 else "",
                finds.suggested_name(int(place)),
                "keep",
                "",
                "",
            ]
        )
    return "\ufeff" + text.getvalue()


def read_review(file: Path, clusters: Collection[int], known_names: Sequence[str]) -> Review:
    """What an edited table says. clusters: those of the round. known_names: (C,), to merge into.

    Rows may be in any order, and columns too; all but `cluster` and `decision` may be missing. Commas, semicolons or
    tabs; a byte-order mark, capitals and empty cells and rows at the end do not matter. A cluster without a row is
    kept, as is one with an empty decision. Raises one UserError with everything that is wrong.
    """
    rows, problems = list(_rows(file)), list[str]()
    reader = _Reader({int(cluster) for cluster in clusters}, tuple(known_names), problems)
    for line, cells in rows:
        reader.read(line, cells)
    reader.check_merges()
    reader.check_names()
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise UserError(f"{file} cannot be obeyed:\n{listed}{more}\nCorrect these cells and run the command again.")
    left_out = len(reader.clusters - reader.line_of.keys())
    if left_out:
        say(f"note: {file} has no row for {left_out} of {len(reader.clusters)} clusters; they are kept")
    return Review(reader.decisions)


class _Reader:
    """Collects decisions, and what is wrong with them as `line 7, column merge_into: ...`."""

    def __init__(self, clusters: set[int], known_names: tuple[str, ...], problems: list[str]) -> None:
        self.clusters, self.problems = clusters, problems
        self.class_of = {name: number for number, name in reversed(list(enumerate(known_names)))}
        self.line_of: dict[int, int] = {}
        self.decisions: dict[int, Decision] = {}

    def read(self, line: int, cells: Mapping[str, str]) -> None:
        cluster = _whole_number(cells["cluster"])
        if cluster is None or cluster not in self.clusters:
            said = "is not a cluster of this round" if cluster is not None else "is no number of a cluster"
            self._wrong(line, "cluster", f"{cells['cluster']!r} {said}")
        elif cluster in self.line_of:
            self._wrong(line, "cluster", f"cluster {cluster} stands in line {self.line_of[cluster]} already")
        else:
            self.line_of[cluster] = line
            decision = self._decision(line, cluster, cells)
            if decision is not None:
                self.decisions[cluster] = decision

    def check_merges(self) -> None:
        """A cluster must not be merged into one that is dropped, nor, over others, into itself."""
        for start, decision in self.decisions.items():
            way = [start]
            while decision.into_cluster is not None and decision.into_cluster not in way:
                way.append(decision.into_cluster)
                decision = self.decisions.get(way[-1], KEEP)
            if decision.into_cluster is not None:
                said = " into ".join(str(cluster) for cluster in [*way, decision.into_cluster])
                self._wrong(self.line_of[start], "merge_into", f"merges go in a circle: {said}; keep one of them")
            elif decision.choice == "drop" and len(way) > 1:
                self._wrong(
                    self.line_of[start], "merge_into", f"cluster {way[-1]} is dropped; drop this one too, or keep that"
                )

    def check_names(self) -> None:
        """A name means one product."""
        owner: dict[str, int] = {}
        for cluster, decision in self.decisions.items():
            name, line = decision.name, self.line_of[cluster]
            if name in self.class_of:
                self._wrong(
                    line,
                    "name",
                    f"{name!r} is a known class; to join it, write merge in decision and the name in merge_into",
                )
            elif name and name in owner:
                self._wrong(
                    line,
                    "name",
                    f"cluster {owner[name]} in line {self.line_of[owner[name]]} has the name {name!r} too; merge one"
                    " into the other",
                )
            elif name:
                owner[name] = cluster

    def _decision(self, line: int, cluster: int, cells: Mapping[str, str]) -> Decision | None:
        choice, target, name = cells["decision"].lower() or "keep", cells.get("merge_into", ""), cells.get("name", "")
        if choice not in _CHOICES:
            hint = nearest(choice, _CHOICES)
            meant = f"; did you mean {hint}?" if hint else ""
            self._wrong(line, "decision", f"{cells['decision']!r} is not one of keep, merge, drop{meant}")
            return None
        if choice != "merge":
            if target:
                self._wrong(line, "merge_into", f"{target!r} stands beside {choice}; write merge, or empty this cell")
                return None
            return Decision("keep", name=name) if choice == "keep" else Decision("drop")
        if name:
            self._wrong(
                line, "name", f"a merged cluster takes the name of what it is merged into; write {name!r} in that row"
            )
            return None
        return self._merge(line, cluster, target)

    def _merge(self, line: int, cluster: int, target: str) -> Decision | None:
        number = _whole_number(target)
        # A number is a cluster; a class whose name is a number is written `class:12`.
        named = target[len(_CLASS) :].strip() if target.lower().startswith(_CLASS) else target
        if number is not None and number in self.clusters and number != cluster:
            return Decision("merge", into_cluster=number)
        if number is None and named in self.class_of:
            return Decision("merge", into_class=self.class_of[named])
        if not target:
            said = "merge needs a cluster's number or a known class's name here"
        elif number == cluster:
            said = f"cluster {cluster} cannot be merged into itself"
        elif number is not None:
            said = f"{number} is not a cluster of this round"
            if target in self.class_of:
                said += f"; the known class of that name is written {_CLASS}{target}"
        else:
            hint = nearest(named, self.class_of)
            said = f"{named!r} is neither a cluster's number nor a known class"
            said += f"; did you mean {hint!r}?" if hint else "; the column nearest_known shows how classes are written"
        self._wrong(line, "merge_into", said)
        return None

    def _wrong(self, line: int, column: str, said: str) -> None:
        self.problems.append(f"line {line}, column {column}: {said}")


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of its last line and the cells of each row that is not empty, by the names of the first."""
    text = _text(file)
    header: list[str] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    for row in _parsed(reader, file):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (header is None and cells[0].lower().startswith("sep=")):
            continue
        if header is None:
            header = [cell.lower().replace(" ", "_") for cell in cells]
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                raise UserError(
                    f"{file}, line {reader.line_num}: the first row must name the columns, and {' and '.join(missing)}"
                    f" {'is' if len(missing) == 1 else 'are'} missing. It had: {', '.join(COLUMNS)}."
                )
            continue
        # zip leaves out the empty cells that spreadsheets add on the right, and a short row's are empty.
        yield reader.line_num, dict.fromkeys(_NEEDED, "") | dict(zip(header, cells))
    if header is None:
        raise UserError(f"{file} is empty. Remove it and run `shelfmark discover` again to have it written anew.")


def _parsed(reader: Any, file: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: no CSV: {error}.") from None


def _text(file: Path) -> str:
    try:
        data = read_regular(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(
            f"{file} is not UTF-8 text. Save it from the spreadsheet as `CSV UTF-8` (not as a workbook, nor as `CSV`)."
        ) from None


def _delimiter(text: str) -> str:
    # A cell of the header holds none of the three, so the commonest is what stands between the cells.
    lines = (line for line in text.splitlines() if line.strip() and not line.lower().startswith("sep="))
    header = next(lines, "")
    return max(",;\t", key=header.count)


def _whole_number(cell: str) -> int | None:
    # Some spreadsheets write 17 as 17.0 or 17,0.
    digits = cell.replace(",", ".").removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def _sizes(data: bytes) -> list[tuple[str, str]] | None:
    """Cluster and size of each row, by which tables of other clusters are told apart; None of what is no table."""
    text = data.decode("utf-8-sig", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error:
        return None
    if not rows or [cell.strip() for cell in rows[0][:2]] != list(COLUMNS[:2]):
        return None
    return sorted((row[0], row[1]) for row in rows[1:] if len(row) > 1 and row[0])


def _cosine(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
