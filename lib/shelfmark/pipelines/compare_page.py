"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shelfmark.core.terminal import percent
from shelfmark.core.wording import counted
from shelfmark.data.sources import FileSource, Picture
from shelfmark.data.table import Table
from shelfmark.evaluation.agreement import Agreement
from shelfmark.evaluation.paired_scores import PairedScore
from shelfmark.pipelines.comparison import AgainstFirst, Comparison, NamedChange, untrained_told
from shelfmark.reports.comparison_words import (
    config_rows,
    difference_rows,
    fact_rows,
    interval_told,
    p_told,
    points,
    verdict_told,
)
from shelfmark.reports.html.page import Page, Section, write_page
from shelfmark.reports.html.parts import DataTable, Folded, Number, Numbers, Part, Row, Rows, Text
from shelfmark.reports.html.pictures import Shown
from shelfmark.runtime.compared_answers import ClassAnswers

_CLASSES, _PICTURES = 12, 8
_LEADING = ("mean_class_accuracy", "top1", "few", "recall@1")


def write_comparison(found: Comparison, answers: ClassAnswers | None, val: Table | None, path: Path) -> None:
    """Writes the HTML file. val: the table of the first run, of whose rows `answers` speak."""
    names = [run["name"] for run in found.runs]
    changed = [
        _changed_section(one, names[0], _Pictures(answers, number, val))
        for number, one in enumerate(found.others, start=1)
        if answers is not None and val is not None
    ]
    sections = [
        *_requirements(found),
        Section("Scores", tuple(_score_table(found.scores, names, number) for number in _others(found)), _OF_SCORES),
        *_answers(found),
        *changed,
        Section("Speed, memory and size", (_facts(found, names),), _OF_FACTS),
        _options(found, names),
    ]
    footer = ("Written by shelfmark compare. docs/compare.md says what each number means.",)
    page = Page(_title(names), _subtitle(found), tuple(sections), _lead(found), footer)
    write_page(page, path)


_OF_SCORES = (
    "Differences are in points of percent. The interval is that of the difference, over resamples of the images, which"
    " are the same for both runs. It says nothing of other seeds of the training."
)
_OF_FACTS = "As the runs recorded them: medians over the epochs, and the most memory that training took."


class _Pictures:
    """The pictures of a class that changed sides between the first run and another."""

    def __init__(self, answers: ClassAnswers | None, number: int, val: Table | None) -> None:
        assert answers is not None
        assert val is not None
        self._answers, self._val = answers, val
        self._first, self._other = answers.predicted[0], answers.predicted[number]
        self._source = FileSource.of(val)
        is_right = self._first == answers.labels, self._other == answers.labels
        self._changed = np.flatnonzero(is_right[0] != is_right[1])

    def row(self, one: NamedChange) -> Row:
        """The class with its pictures; those that agree with the change of the class come first."""
        change, answers = one.change, self._answers
        places = self._changed[answers.labels[self._changed] == change.label]
        is_won = self._other[places] == change.label
        order = np.argsort(is_won != (change.gain > 0), kind="stable")
        shown = tuple(self._shown(one.name, int(place)) for place in places[order][:_PICTURES])
        facts = (
            f"right: {change.right_first} before, {change.right_second} now, of {counted(change.num_images, 'image')}",
            f"{points(change.gain / change.num_images)} points",
        )
        return Row(one.name, facts, shown, num_more=max(0, len(places) - _PICTURES))

    def _shown(self, name: str, place: int) -> Shown:
        is_won = self._other[place] == self._answers.labels[place]
        taken_for = self._answers.class_name(int((self._first if is_won else self._other)[place]))
        said = f"was taken for {taken_for}" if is_won else f"now taken for {taken_for}"
        row = int(self._answers.rows[place])
        alt = f"{self._val.image_ids[row]}, {name}: {'now right, ' if is_won else 'was right, '}{said}"
        return Shown(Picture(self._source, row), alt, said, "right" if is_won else "wrong")


def _title(names: Sequence[str]) -> str:
    return f"{', '.join(names[1:])} compared with {names[0]}"


def _subtitle(found: Comparison) -> str:
    parts = []
    for what, pictures in (("classified", found.pictures), ("searched", found.searched)):
        if pictures is not None:
            parts.append(f"{counted(len(pictures), 'image')} {what}")
            if any(pictures.num_left_out):
                parts.append(f"left out, because a run lacks them: {max(pictures.num_left_out):,} at most")
            if pictures.num_other_label:
                parts.append(f"left out, because annotations disagree: {pictures.num_other_label:,}")
    return "; ".join(parts)


def _others(found: Comparison) -> range:
    return range(1, len(found.runs))


def _lead(found: Comparison) -> tuple[Part, ...]:
    """The answer first."""
    by_name = {one.name: one for one in found.scores}
    leading = [by_name[name] for name in _LEADING if name in by_name]
    parts: list[Part] = []
    if found.judgements:
        num_met = len(found.judgements) - len(found.unmet)
        told = f"Not all requirements are met: {num_met} of {len(found.judgements)}."
        parts.append(Text(told if found.unmet else "All requirements are met."))
    parts.extend(Text(untrained_told(name)) for name in found.untrained)
    for number in _others(found):
        shown = tuple(_number(one, number) for one in leading if one.differences[number] is not None)
        answers = found.others[number - 1].answers
        if answers is not None and answers.num_images:
            shown = (*shown, Number(percent(answers.same / answers.num_images), "same answers"))
        if len(found.runs) > 2:
            parts.append(Text(f"{found.runs[number]['name']} beside {found.runs[0]['name']}:"))
        parts.append(Numbers(shown))
    return tuple(parts)


def _number(score: PairedScore, number: int) -> Number:
    from_to = f"from {percent(score.values[0])} to {percent(score.values[number])}"
    interval = interval_told(score.difference_intervals[number])
    name = difference_rows([score], number)[0][0]
    return Number(
        points(score.differences[number] or 0.0),
        f"{name}: {verdict_told(score, number)}",
        f"points; 95% interval {interval}; {from_to}",
    )


def _score_table(scores: Sequence[PairedScore], names: Sequence[str], number: int) -> DataTable:
    columns = ("score", names[0], names[number], "difference", "95% interval", "verdict")
    rows = tuple(map(tuple, difference_rows(scores, number)))
    return DataTable(f"{names[number]} beside {names[0]}", columns, rows)


def _requirements(found: Comparison) -> list[Section]:
    if not found.judgements:
        return []
    rows = tuple((one.requirement, one.run, "met" if one.is_met else "NOT met", one.told) for one in found.judgements)
    table = DataTable("What was required", ("requirement", "run", "", "measured"), rows, is_text=True)
    return [Section("Requirements", (table,))]


def _answers(found: Comparison) -> list[Section]:
    known = [(one.run, one.answers) for one in found.others if one.answers is not None]
    if not known:
        return []
    first = found.runs[0]["name"]
    columns = ("run", "same answer", "both right", f"only {first}", "only the run", "neither", "McNemar's exact test")
    rows = tuple((run, *_shares(one), p_told(one.p_value).removeprefix("McNemar's exact test: ")) for run, one in known)
    explanation = (
        "Of the images on which one run alone is right, each would be a fair coin if both were equally good: p is the"
        " probability of a difference as great as this one, or greater."
    )
    return [
        Section("Answers", (DataTable(f"Answers of each run beside those of {first}", columns, rows),), explanation)
    ]


def _shares(found: Agreement) -> tuple[str, ...]:
    numbers = (found.same, found.both_right, found.only_first, found.only_second, found.neither)
    return tuple(f"{percent(one / max(1, found.num_images))} ({one:,})" for one in numbers)


def _changed_section(one: AgainstFirst, first: str, pictures: _Pictures) -> Section:
    parts: list[Part] = []
    for what, number, changes in (("better", one.num_better, one.better), ("worse", one.num_worse, one.worse)):
        more = f", the first {_CLASSES} with pictures" if number > _CLASSES else ""
        parts.append(Text(f"{counted(number, 'class')} got {what}{more}."))
        if changes:
            parts.append(Rows(tuple(pictures.row(change) for change in changes[:_CLASSES])))
        if changes[_CLASSES:]:
            parts.append(Folded(f"Further classes that got {what}", (_change_table(what, changes[_CLASSES:]),)))
    explanation = (
        "By the images that each class won or lost. The pictures are those that changed sides: \u2713 is right now,"
        " \u2717 was right before."
    )
    return Section(f"Classes: {one.run} beside {first}", tuple(parts), explanation)


def _change_table(what: str, changes: Sequence[NamedChange]) -> DataTable:
    rows = tuple(
        (one.name, str(one.change.num_images), str(one.change.right_first), str(one.change.right_second))
        for one in changes
    )
    return DataTable(f"Further classes that got {what}", ("class", "images", "right before", "right now"), rows)


def _facts(found: Comparison, names: Sequence[str]) -> DataTable:
    return DataTable("Speed, memory and size of each run", ("", *names), tuple(map(tuple, fact_rows(found.runs))))


def _options(found: Comparison, names: Sequence[str]) -> Section:
    rows = tuple(map(tuple, config_rows(found.config)))
    if not rows:
        return Section("Options that differ", (Text("There is none.", is_muted=True),))
    table = DataTable("Each option and its values", ("option", *names), rows, is_text=True)
    return Section("Options that differ", (table,), "In brackets: where the value was set.")
