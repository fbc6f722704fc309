"""The page of a round of discovery, in words: `discovery_page` draws it.

A caller collects the round as `DiscoveredRound`, and report.json of each round so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.reports.discovery_page import (
    HtmlPage,
    Line,
    LineChart,
    Plot,
    Point,
    ScoresTable,
    Section,
    ShownProduct,
)
from shelfmark.reports.html.parts import Number
from shelfmark.reports.tables import score_text

_ORIGINS = {"known": "known classes", "new": "new classes", "all": "all", "selected": "selected"}


@dataclass(frozen=True)
class DiscoveredRound:
    """run: its name. num_new, num_joined: clusters. The four lists show some of them, the most telling first."""

    run: str
    num_labelled: int
    num_known_classes: int
    num_unlabelled: int
    num_new: int
    num_joined: int
    largest: tuple[ShownProduct, ...]
    densest: tuple[ShownProduct, ...]
    most_doubtful: tuple[ShownProduct, ...]
    joined: tuple[ShownProduct, ...]


def page_of(found: DiscoveredRound, reports: Sequence[Mapping[str, Any]], sizes_plot: Path | None = None) -> HtmlPage:
    """The page of a round. reports: report.json of all rounds from 0 on, of this one last.

    sizes_plot: the PNG file of the clusters' sizes.
    """
    report = reports[-1]
    return HtmlPage(
        title=f"{found.run}: round {report['round']}",
        subtitle=f"{found.num_labelled:,} labelled photographs of {found.num_known_classes:,} known classes;"
        f" {found.num_unlabelled:,} unlabelled ones were searched for new products.{_thresholds_told(report)}",
        numbers=tuple(_numbers(report)),
        charts=_charts(reports) if len(reports) > 1 else (),
        sections=_sections(found),
        tables=tuple(_tables(report)),
        plots=() if sizes_plot is None else (Plot("Sizes of the clusters", _sizes_told(report), sizes_plot),),
        footer="To rename, merge or drop clusters edit review.csv, which lies beside this page; the next round obeys"
        " it. How every number is defined: docs/definitions.md.",
    )


def _thresholds_told(report: Mapping[str, Any]) -> str:
    """The thresholds of the selection, and their precision on labelled images."""
    told = ""
    density, join = (report.get("thresholds", {}).get(name) for name in ("density", "join"))
    if density:
        # A threshold of -1 excludes nothing: no cosine is lower.
        which = f"what is denser than {density['threshold']:.3f}" if density["threshold"] > -1 else "every one"
        told += f" Selected is {which}{_promise(density, 'pairs')}."
    if join and join["threshold"] is not None:
        told += f" Clusters joined a known class from a cosine of {join['threshold']:.3f} on{_promise(join, 'images')}."
    return told


def _promise(rule: Mapping[str, Any], counted: str) -> str:
    if rule["precision"] is None:
        return ""
    return f" ({100 * rule['precision']:.0f}% of {counted} right in calibration)"


def _numbers(report: Mapping[str, Any]) -> Iterable[Number]:
    for name in ("test", "val"):
        scores = report["retrieval"].get(name)
        if scores:
            yield Number(score_text("recall@1", scores["recall@1"]), f"Recall@1 on {name}", _interval(scores))
    counts, truth = report["selection"], report.get("truth")
    selected = f"{score_text('coverage', counts['coverage'])} of the unlabelled"
    yield Number(f"{counts['num_selected']:,}", "images selected", selected)
    yield Number(f"{counts['num_pseudo_classes']:,}", "new products", f"{counts['num_pseudo']:,} images")
    joined = f"of {counts['num_joined_classes']:,} classes"
    yield Number(f"{counts['num_joined']:,}", "images joined to known classes", joined)
    if truth:
        selection, new = truth["selection"]["all"], truth["new_classes"]
        yield Number(score_text("precision", selection["precision"]), "of the selected are right", "by the truth")
        found = f"of {new['num_new_classes']:,} that are there"
        yield Number(f"{new['num_new_classes_found']:,}", "new classes found", found)


def _interval(scores: Mapping[str, Any]) -> str:
    low, high = scores.get("recall@1_low"), scores.get("recall@1_high")
    return "" if low is None or high is None else f"{100 * low:.1f} - {100 * high:.1f}"


def _charts(reports: Sequence[Mapping[str, Any]]) -> tuple[LineChart, ...]:
    sets = [name for name in ("test", "val") if any(name in report["retrieval"] for report in reports)]
    found = [
        LineChart(title, tuple(_line(reports, name, score, ("retrieval", name)) for name in sets))
        for title, score in (("Recall@1", "recall@1"), ("mAP@R", "map@r"))
        if sets
    ]
    lines = [_line(reports, "coverage", "coverage", ("selection",))]
    if "truth" in reports[-1]:
        lines.append(_line(reports, "precision", "precision", ("truth", "selection", "all")))
        lines.append(_line(reports, "new classes found", "new_classes_found", ("truth", "new_classes")))
    return (*found, LineChart("Selected images", tuple(lines)))


def _line(reports: Sequence[Mapping[str, Any]], name: str, score: str, way: Sequence[str]) -> Line:
    points = []
    for report in reports:
        scores: Any = report
        for step in way:
            scores = scores.get(step, {})
        if scores.get(score) is not None:
            points.append(
                Point(report["round"], scores[score], scores.get(f"{score}_low"), scores.get(f"{score}_high"))
            )
    return Line(name, tuple(points))


def _tables(report: Mapping[str, Any]) -> Iterable[ScoresTable]:
    truth = report.get("truth")
    if not truth:
        return
    columns = {
        "num_images": "images",
        "num_selected": "selected",
        "coverage": "coverage",
        "precision": "right",
        "num_joined": "joined",
        "joined_precision": "joined rightly",
        "num_pseudo": "in new products",
        "pseudo_purity": "purity",
        "pairwise_precision": "right pairs",
    }
    yield ScoresTable(
        "What was selected",
        "By what the images really are: of a known class, or of a new one. Purity is the share of images that are of"
        " the class which most of their new product are of.",
        ("", *columns.values()),
        tuple(_row(name, truth["selection"][name], columns) for name in ("known", "new", "all")),
    )
    columns = {
        "num_images": "images",
        "num_clusters": "clusters",
        "pairwise_precision": "pairs: precision",
        "pairwise_recall": "recall",
        "pairwise_f": "F",
        "bcubed_precision": "BCubed: precision",
        "bcubed_recall": "recall",
        "bcubed_f": "F",
        "nmi": "NMI",
    }
    yield ScoresTable(
        "How well the clusters agree with the classes",
        "Of the images of known classes, of new ones, of all, and of those selected by the label they were given.",
        ("", *columns.values()),
        tuple(_row(name, truth["clusters"][name], columns) for name in ("known", "new", "all", "selected")),
    )


def _row(name: str, scores: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, ...]:
    return (_ORIGINS[name], *(score_text(score, scores[score]) if score in scores else "" for score in columns))


def _sizes_told(report: Mapping[str, Any]) -> str:
    sizes = report["cluster_sizes"]
    if not sizes["num_clusters"]:
        return "There is no cluster."
    told = f"{sizes['num_clusters']:,} clusters; half of them have {sizes['median']:g} images or fewer"
    return f"{told}, the largest has {sizes['largest']:,}."


def _sections(found: DiscoveredRound) -> tuple[Section, ...]:
    return (
        Section(
            f"The largest of {found.num_new:,} new products" if found.num_new > 1 else "New products",
            "Each row is a cluster of selected photographs, from its densest photograph to its least dense.",
            found.largest,
            "No photograph was selected for a new product in this round.",
        ),
        Section(
            "The densest",
            "Photographs that are most alike: nearly always one product, and sometimes one photograph many times.",
            found.densest,
        ),
        Section(
            "The most doubtful",
            "Their photographs are hardly nearer to each other than to a known class or to another new product. These"
            " are the rows to merge or to drop first.",
            found.most_doubtful,
        ),
        Section(
            f"Joined to known classes: {found.num_joined:,} cluster{'' if found.num_joined == 1 else 's'}",
            "Taken for photographs of products that were known already.",
            found.joined,
            "No cluster was near enough to a known class.",
        ),
    )
