"""The pictures of a training batch as the network saw them."""

from __future__ import annotations

from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import Gallery, Part, Text
from shelfmark.reports.html.pictures import Shown


def seen_section(pictures: tuple[Shown, ...], mixed: tuple[Shown, ...]) -> Section:
    """pictures: augmented. mixed: the same after mixing, () where the run does not mix."""
    parts: list[Part] = [Gallery(pictures)]
    if mixed:
        parts += [Text("After mixing, with the share of each label:"), Gallery(mixed)]
    return Section(
        "What the network saw",
        tuple(parts),
        "The first pictures of the first epoch: cropped, coloured and resized as in training.",
    )
