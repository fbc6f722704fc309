"""Why wrong answers were given: the regions of the picture that spoke for them."""

from __future__ import annotations

from dataclasses import dataclass

from shelfmark.core.wording import counted
from shelfmark.reports.html.parts import Folded, Lacking, Part, Row, Rows, Text
from shelfmark.reports.html.pictures import Shown


@dataclass(frozen=True)
class Reason:
    """One wrong answer. lines: its regions in words. pictures: the photograph, and its heat."""

    title: str
    lines: tuple[str, ...]
    pictures: tuple[Shown, Shown]


@dataclass(frozen=True)
class Reasons:
    """surest: of the surest mistakes. pairs: of a picture of each of the most confused pairs. method: in words.

    num_mistakes, num_pairs: those of which surest and pairs are the first. lacking: why pictures have no explanation, a
    line each.
    """

    surest: tuple[Reason, ...]
    pairs: tuple[Reason, ...]
    num_mistakes: int
    num_pairs: int
    method: str
    lacking: tuple[str, ...] = ()


def reasons_part(found: Reasons) -> Part:
    """The explained pictures, folded; or why there are none."""
    if not (found.surest or found.pairs):
        return Folded("Why", tuple(Lacking(f"No answer could be explained: {one}") for one in found.lacking))
    surest = f"{len(found.surest):,} of {counted(found.num_mistakes, 'wrong answer')}"
    pairs = f"{len(found.pairs):,} of {counted(found.num_pairs, 'confused pair')}"
    parts: list[Part] = [
        Text(_HEAT, True),
        Text(f"Method: {found.method}. shelfmark explain shows any other photograph so.", True),
    ]
    for heading, reasons in ((_SUREST, found.surest), (_PAIRS, found.pairs)):
        if reasons:
            parts += [Text(heading), Rows(tuple(map(_row, reasons)), look="reasons")]
    parts += [Lacking(f"Not explained: {one}") for one in found.lacking]
    return Folded(f"Why: what spoke for {surest} and {pairs}", tuple(parts))


_HEAT = (
    "Right the heat: the darker, the more a place speaks for the answer and against the other product. Outlined and"
    " numbered are the regions with at least half of the most; the dashed one, A, speaks for the other product."
    " Striped is what the network did not see."
)
_SUREST = "The surest mistakes, the answer against the runner-up:"
_PAIRS = "The most confused pairs, the class that was answered against the true one:"


def _row(reason: Reason) -> Row:
    return Row(reason.title, reason.lines, reason.pictures)
