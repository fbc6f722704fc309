"""The pictures of an explanation, and its words: for files, for the service's page and for a report."""

from __future__ import annotations

from typing import Any

import numpy as np

from shelfmark.core.terminal import percent
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted
from shelfmark.reports.explained_picture import Panel, explanation_figure, matches_figure
from shelfmark.reports.heat import Mark, heat_thumbnails
from shelfmark.runtime.explanation import Explanation, MatchedNeighbour, NamedProduct, NamedRegion

_AGAINST = "A"


def heat_figure(explanation: Explanation) -> Any | None:
    """The photograph beside its heat, as a figure of matplotlib; None where the classifier explains nothing."""
    if explanation.answer is None:
        return None
    return explanation_figure(
        explanation.pixels, explanation.heat, _marks(explanation), answer_in_words(explanation), in_words(explanation)
    )


def small_pictures(explanation: Explanation, side_px: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The photograph and its heat as `reports.heat.heat_thumbnails`; None where the classifier explains nothing."""
    if explanation.answer is None:
        return None
    return heat_thumbnails(explanation.pixels, explanation.heat, _marks(explanation), side_px)


def neighbour_figure(explanation: Explanation) -> Any | None:
    """The photograph and its neighbour with their matched regions; None without a neighbour, or an unreadable one."""
    near = explanation.neighbour
    if near is None or near.pixels is None:
        return None
    lines = neighbour_in_words(near)
    title = f"nearest image of the index: {_clean(near.name or f'class {near.label}')}"
    ours = [Mark([pair.box], str(number)) for number, pair in enumerate(near.pairs, start=1)]
    theirs = [Mark([pair.neighbour_box], str(number)) for number, pair in enumerate(near.pairs, start=1)]
    return matches_figure(
        Panel(explanation.pixels, "the photograph", ours), Panel(near.pixels, _clean(near.id), theirs), title, lines
    )


def answer_in_words(explanation: Explanation) -> str:
    """The answer with its probability, and the next product with its own."""
    answer, following = explanation.answer, explanation.next_product
    if answer is None:
        return explanation.method_in_words
    told = _product(answer)
    return told if following is None else f"{told}, before {_product(following)}"


def in_words(explanation: Explanation) -> list[str]:
    """The regions, what would tip the answer, and the method, a line each."""
    by = [f"by {explanation.method_in_words}{_sum(explanation)}"] if explanation.method else []
    return [*regions_in_words(explanation), *by]


def regions_in_words(explanation: Explanation) -> list[str]:
    """The regions, by the signs that the pictures have, and what would tip the answer, a line each."""
    lines = [
        f"{number}: {_region(region)} {_clean(explanation.answer.title)}"
        for number, region in enumerate(explanation.regions, start=1)
        if explanation.answer is not None
    ]
    if explanation.answer is not None and not lines:
        lines.append("no region of the map speaks for the answer")
    if explanation.next_product is not None:
        name = _clean(explanation.next_product.title)
        lines += [f"{_AGAINST}: {_region(region)} {name}" for region in explanation.against]
        lines += _tip(explanation, name)
    return lines


def heat_in_words(explanation: Explanation) -> str:
    """What the heat shows, for who cannot see it: what speaks for the answer, and where."""
    answer, following = explanation.answer, explanation.next_product
    if answer is None:
        return explanation.method_in_words
    against = "" if following is None else f" and against {_clean(following.title)}"
    where = ", ".join(f"{region.where} {percent(region.share)}" for region in explanation.regions)
    return f"What speaks for {_clean(answer.title)}{against}: {where or 'no region of the picture'}."


def neighbour_in_words(near: MatchedNeighbour) -> list[str]:
    """The pairs of regions, a line each."""
    if near.error is not None:
        return [f"{near.path} could not be read: {near.error}"]
    if not near.pairs:
        return ["no patch of the one is the nearest of a patch of the other"]
    lines = [
        f"{number}: {percent(pair.share)} of the likeness of all matched patches, cosine {pair.cosine:.2f}"
        for number, pair in enumerate(near.pairs, start=1)
    ]
    pairs = counted(near.num_pairs, "pair")
    return [
        *lines,
        f"{pairs} of patches, each the other's nearest; similarity of the whole pictures {percent(near.score)}",
    ]


def _marks(explanation: Explanation) -> list[Mark]:
    marks = [Mark(region.cells, str(number)) for number, region in enumerate(explanation.regions, start=1)]
    return [*marks, *(Mark(region.cells, _AGAINST, is_dashed=True) for region in explanation.against)]


def _tip(explanation: Explanation, name: str) -> list[str]:
    tip = explanation.tip
    if tip is None or explanation.answer is None:
        return []
    own = _clean(explanation.answer.title)
    both = f"{own} {percent(tip.probability)}, {name} {percent(tip.next_probability)}"
    told = "stays" if tip.best.label == explanation.answer.label else f"is {_clean(tip.best.title)}"
    return [f"with region 1 blurred the answer {told}: {both}"]


def _sum(explanation: Explanation) -> str:
    if not explanation.is_exact:
        return ""
    what = "difference of the two logits" if explanation.next_product else "logit"
    score, constant = explanation.difference, explanation.constant
    return f" ({what} {score:.2f}: {score - constant:.2f} over the picture, {constant:+.2f} constant)"


def _region(region: NamedRegion) -> str:
    return f"{region.where}, {percent(region.share)} of what speaks for"


def _product(product: NamedProduct) -> str:
    return f"{_clean(product.title)} {percent(product.probability)}"


def _clean(text: str) -> str:
    return printable(text, one_line=True)
