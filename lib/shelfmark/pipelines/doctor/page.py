"""A diagnosis as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shelfmark.core.wording import counted
from shelfmark.data.sources import ImageSource, Picture
from shelfmark.pipelines.doctor.diagnosis import Culprits, Diagnosis, Finding
from shelfmark.reports.doctor_page import DoctorPage, ShownFinding, ShownGroup, some, write_doctor_page
from shelfmark.reports.html.parts import Number
from shelfmark.reports.html.pictures import Shown

_GROUPS, _PICTURES, _SINGLE, _ROWS = 12, 8, 24, 30
_OF_GROUPS = ("exact_copies", "near_copies", "leaks", "two_labels", "one_product")
_OF_TABLES = ("unreadable", "few_images")
_EXPLAINED = {
    "exact_copies": "Each has the same pixels once it is decoded, in whatever format it was saved.",
    "near_copies": "Each shows the same photograph. The first of a row has the most pixels.",
    "leaks": "A score on such a picture is a score on what was trained.",
    "two_labels": "One photograph, or a part of it, under different labels: at least one is wrong.",
    "doubtful_labels": "The features of all other images speak for another class. Most suspicious first.",
    "one_product": "The means of the two classes are closer than the spread of their images, and labels dealt at random"
    " would divide the images as well.",
    "blurred": "The number is the blur, of 0 to 1; the most blurred first.",
    "few_images": "Copies count once, and images that cannot be read do not count.",
}


def write_diagnosis_page(found: Diagnosis, source: ImageSource, path: Path, title: str) -> int:
    """Writes the HTML file; returns the number of pictures for which it had no room. source: of the listed pictures."""
    pictures = _Pictures(found, source)
    told = [one for one in found.findings if one.culprits]
    sizes = found.class_sizes()
    splits = ", ".join(f"{name}: {len(table):,}" for name, table in found.listings.tables.items())
    numbers = (
        Number(f"{len(found.listings.paths):,}", "images", splits),
        Number(f"{sum(len(one.culprits) for one in told):,}", "findings", f"of {counted(len(told), 'kind')}"),
        Number(f"{sizes['num']:,}", "classes", f"{sizes['fewest']:,} to {sizes['most']:,} training images"),
    )
    page = DoctorPage(
        title,
        "What is wrong with the images and their labels",
        tuple(_summary(one) for one in found.findings),
        numbers,
        tuple(pictures.finding(one) for one in told),
        found.counts,
    )
    return write_doctor_page(page, path)


def _summary(one: Finding) -> tuple[str, str, str]:
    if one.why_not:
        return one.title, "not looked for", ""
    return one.title, f"{len(one.culprits):,}", f"{one.num_images:,}"


class _Pictures:
    """The findings with their pictures, as the page shows them."""

    def __init__(self, found: Diagnosis, source: ImageSource) -> None:
        self._found, self._source = found, source

    def finding(self, one: Finding) -> ShownFinding:
        file = self._found.files.get(one.name)
        told = f"{counted(len(one.culprits), one.unit)}: {one.title}."
        if one.culprits[0].facts and one.name not in (*_OF_GROUPS, *_OF_TABLES):
            told += f" The number is the {one.culprits[0].facts[0]}."
        heading = f"{one.title[0].upper()}{one.title[1:]}"
        explanation, name = _EXPLAINED.get(one.name, ""), "" if file is None else file.name
        if one.name in _OF_GROUPS:
            groups = tuple(map(self._group, one.culprits[:_GROUPS]))
            more = max(0, len(one.culprits) - _GROUPS)
            return ShownFinding(heading, told, explanation, groups=groups, num_more=more, file=name)
        if one.name in _OF_TABLES:
            rows = tuple((culprit.title, *culprit.facts) for culprit in one.culprits[:_ROWS])
            columns = ("class", "images") if one.name == "few_images" else ("image", "reason")
            more = max(0, len(one.culprits) - _ROWS)
            return ShownFinding(heading, told, explanation, columns=columns, rows=rows, num_more=more, file=name)
        pictures, more = some(
            [shown for culprit in one.culprits[: _SINGLE + 1] for shown in self._shown(culprit)], _SINGLE
        )
        more = len(one.culprits) - len(pictures) if more else 0
        return ShownFinding(heading, told, explanation, pictures=pictures, num_more=more, file=name)

    def _group(self, culprits: Culprits) -> ShownGroup:
        pictures, more = some(list(self._shown(culprits)), _PICTURES)
        return ShownGroup(culprits.title, culprits.facts, pictures, more)

    def _shown(self, culprits: Culprits) -> Iterator[Shown]:
        for picture, note in zip(culprits.pictures, culprits.notes):
            alt = f"{self._found.listings.image_id(int(self._found.listings.of_picture(picture)[0]))}: {note}"
            yield Shown(Picture(self._source, picture), alt, note)
