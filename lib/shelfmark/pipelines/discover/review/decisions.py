"""A person's decisions about the clusters of a round. Legend: U unlabelled images, C known classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.log import say
from shelfmark.pipelines.discover.review.table import review_rows

Choice = Literal["keep", "merge", "drop"]
CHOICES: tuple[Choice, ...] = ("keep", "merge", "drop")
_CLASS = "class:"


@dataclass(frozen=True)
class Decision:
    """The decision about a cluster. into_cluster, into_class: one of the two for `merge`. name: empty for none."""

    choice: Choice = "keep"
    into_cluster: int | None = None
    into_class: int | None = None
    name: str = ""


KEEP = Decision()


@dataclass(frozen=True)
class Review:
    """decisions: by cluster; a cluster without a decision is kept."""

    decisions: Mapping[int, Decision]

    @property
    def changes_nothing(self) -> bool:
        return all(decision == KEEP for decision in self.decisions.values())

    def applied(self, labels: np.ndarray, clusters: np.ndarray, num_known: int) -> tuple[np.ndarray, dict[int, str]]:
        """(U,) int64 labels after the review, and the names of pseudo-classes by label.

        labels, clusters: (U,) of the selection; images of cluster -1 keep their label. Images of a dropped cluster get
        -1, those of a merged cluster the label that it is merged into. A cluster that joined a known class and got a
        name becomes a pseudo-class of its own, with a label above all others. Labels are not renumbered.
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


def read_review(file: Path, clusters: Collection[int], known_names: Sequence[str]) -> Review:
    """The decisions in an edited table. clusters: of the round. known_names: (C,), of the classes to merge into.

    Rows and columns may be in any order; all columns but `cluster` and `decision` may be missing. Cells are separated
    by commas, semicolons or tabs. A byte-order mark, capitals, and empty cells and rows at the end do not matter. A
    cluster without a row, or with an empty decision, is kept. Raises one UserError with everything that is wrong.
    """
    rows, problems = list(review_rows(file)), list[str]()
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
    """Collects decisions, and their errors as `line 7, column merge_into: ...`."""

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
        """Checks that no cluster is merged into a dropped one, or, through other clusters, into itself."""
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
        """Checks that no two products have one name."""
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
        if choice not in CHOICES:
            hint = did_you_mean(choice, CHOICES)
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
            hint = did_you_mean(named, self.class_of)
            said = f"{named!r} is neither a cluster's number nor a known class"
            said += f"; did you mean {hint!r}?" if hint else "; the column nearest_known shows how classes are written"
        self._wrong(line, "merge_into", said)
        return None

    def _wrong(self, line: int, column: str, said: str) -> None:
        self.problems.append(f"line {line}, column {column}: {said}")


def _whole_number(cell: str) -> int | None:
    # Some spreadsheets write 17 as 17.0 or 17,0.
    digits = cell.replace(",", ".").removesuffix(".0")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
