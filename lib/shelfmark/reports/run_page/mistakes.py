"""Mistakes with pictures: confused pairs, the surest and the most doubtful answers, and classes one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shelfmark.core.wording import counted
from shelfmark.reports.confused_pairs import ShownPair
from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import Folded, Gallery, Part, Row, Rows, Text
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.run_page.reasons import Reasons, reasons_part


@dataclass(frozen=True)
class ClassPage:
    """A class: its pictures, the classes next to it, and whom it is taken for.

    neighbours: (name, cosine). taken_for: (name, images), the most frequent first.
    """

    name: str
    num_train: int
    num_images: int
    num_right: int
    pictures: tuple[Shown, ...]
    neighbours: tuple[tuple[str, float], ...]
    taken_for: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Mistakes:
    """surest, doubtful: pictures with their captions. total: the labelled images, of which num_images were looked at.

    num_classes: the classes of which `classes` are shown. reasons: why some of the wrong answers were given.
    """

    pairs: tuple[ShownPair, ...]
    surest: tuple[Shown, ...]
    num_wrong: int
    doubtful: tuple[Shown, ...]
    classes: tuple[ClassPage, ...]
    num_classes: int
    num_images: int
    total: int
    reasons: Reasons | None = None


def mistakes_section(found: Mistakes) -> Section:
    """Confused pairs, the surest mistakes, doubtful answers, classes."""
    looked = f"{found.num_wrong:,} of {counted(found.num_images, 'image')} on val are answered wrongly."
    if found.num_images < found.total:
        looked += f" {found.num_images:,} of val's {found.total:,} images were looked at, drawn at random."
    parts: list[Part] = [
        Folded(
            _pairs_told(found.pairs),
            (
                Text(_PAIRS, True),
                Rows(tuple(map(_pair, found.pairs)), "No image was taken for another class.", "pairs"),
            ),
            True,
        ),
        Folded("The surest mistakes", (Text(_SUREST, True), _gallery(found.surest))),
        *([] if found.reasons is None else [reasons_part(found.reasons)]),
        Folded("The most doubtful answers", (Text(_DOUBTFUL, True), _gallery(found.doubtful))),
    ]
    if found.classes:
        parts.append(
            Folded(
                _classes_told(found),
                (Text(_CLASSES, True), Rows(tuple(map(_class_row, found.classes)))),
            )
        )
    return Section("Mistakes", tuple(parts), looked)


_PAIRS = (
    "Left a picture of the true class, right one of the class that its images were taken for; one of the training where"
    " val has none."
)
_SUREST = (
    "Wrong answers with the highest probability. Where the picture shows what the answer says, the label is wrong:"
    " shelfmark clean looks for such labels among the training images."
)
_DOUBTFUL = "Answers with the lowest probability, right or wrong: what thresholds would leave unanswered first."
_CLASSES = (
    "The classes that lose the most images. Next to a class are those whose rows of the classifier point the same way."
)


def _pairs_told(pairs: Sequence[ShownPair]) -> str:
    return "The most confused pair" if len(pairs) == 1 else f"The {len(pairs)} most confused pairs"


def _pair(shown: ShownPair) -> Row:
    pair = shown.pair
    return Row(
        f"{shown.name} \N{RIGHTWARDS ARROW} {shown.predicted_name}",
        (f"{pair.num_images:,} of {counted(pair.num_of_class, 'image')}",),
        (
            Shown(shown.picture, f"An image of {shown.name}"),
            Shown(
                shown.predicted_picture,
                f"An image of {shown.predicted_name}",
                "of the training" if shown.predicted_is_training else "",
            ),
        ),
    )


def _gallery(pictures: tuple[Shown, ...]) -> Part:
    return Gallery(pictures, size="large") if pictures else Text("There is none.")


def _classes_told(found: Mistakes) -> str:
    if len(found.classes) == found.num_classes:
        return f"All {counted(found.num_classes, 'class')}, one by one"
    return f"{len(found.classes):,} of {counted(found.num_classes, 'class')}, one by one"


def _class_row(page: ClassPage) -> Row:
    facts = [f"{counted(page.num_train, 'training image')}; {page.num_right:,} of {page.num_images:,} right on val"]
    if page.taken_for:
        facts.append("taken for " + "; ".join(f"{name} ({number:,})" for name, number in page.taken_for))
    if page.neighbours:
        facts.append("next to " + "; ".join(f"{name} ({cosine:.2f})" for name, cosine in page.neighbours))
    return Row(page.name, tuple(facts), page.pictures)
