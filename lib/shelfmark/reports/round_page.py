"""The page of a round: which products it shows, and the words beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.pipelines.discover.finds import RoundFindings
from shelfmark.reports.html_page import (
    DiscoveryPage,
    Number,
    Plot,
    ScoresTable,
    Section,
    ShownPicture,
    ShownProduct,
)
from shelfmark.reports.line_charts import Line, LineChart, Point
from shelfmark.reports.tables import score_text

_PRODUCTS, _PICTURES = 10, 15
_ORIGINS = {"known": "known classes", "new": "new classes", "all": "all", "selected": "selected"}


def page_of(
    finds: RoundFindings, reports: Sequence[Mapping[str, Any]], name: str, sizes_plot: Path | None = None
) -> DiscoveryPage:
    """The page of the last of `reports`, which are those of the rounds from 0 on.

    name: the run's. sizes_plot: the PNG file of the clusters' sizes.
    """
    report = reports[-1]
    images = finds.sets.images
    return DiscoveryPage(
        title=f"{name}: round {report['round']}",
        subtitle=f"{images.get('labelled', 0):,} labelled photographs of {len(finds.known_names):,} known classes;"
        f" {len(finds.selection.rows):,} unlabelled ones were searched for new products.{_thresholds_told(report)}",
        numbers=tuple(_numbers(report)),
        charts=_charts(reports) if len(reports) > 1 else (),
        sections=_sections(finds),
        tables=tuple(_tables(report)),
        plots=() if sizes_plot is None else (Plot("Sizes of the clusters", _sizes_told(report), sizes_plot),),
        footer="To rename, merge or drop clusters edit review.csv, which lies beside this page; the next round obeys"
        " it. How every number is defined: docs/definitions.md.",
    )


def _thresholds_told(report: Mapping[str, Any]) -> str:
    """What the selection went by, and what that promised on labelled images."""
    told = ""
    density, join = (report.get("thresholds", {}).get(name) for name in ("density", "join"))
    if density:
        # A cosine, of which none is below -1.
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


def _sections(finds: RoundFindings) -> tuple[Section, ...]:
    products = finds.products
    num_new, num_joined = int(products.is_new.sum()), int((~products.is_new).sum())
    return (
        Section(
            f"The largest of {num_new:,} new products" if num_new > 1 else "New products",
            "Each row is a cluster of selected photographs, from its densest photograph to its least dense.",
            _shown(finds, products.largest()),
            "No photograph was selected for a new product in this round.",
        ),
        Section(
            "The densest",
            "Photographs that are most alike: nearly always one product, and sometimes one photograph many times.",
            _shown(finds, products.densest()),
        ),
        Section(
            "The most doubtful",
            "Their photographs are hardly nearer to each other than to a known class or to another new product. These"
            " are the rows to merge or to drop first.",
            _shown(finds, products.most_doubtful()),
        ),
        Section(
            f"Joined to known classes: {num_joined:,} cluster{'' if num_joined == 1 else 's'}",
            "Taken for photographs of products that were known already.",
            _shown(finds, products.joined()),
            "No cluster was near enough to a known class.",
        ),
    )


def _shown(finds: RoundFindings, places: np.ndarray) -> tuple[ShownProduct, ...]:
    return tuple(_product(finds, int(place)) for place in places[:_PRODUCTS])


def _product(finds: RoundFindings, place: int) -> ShownProduct:
    products = finds.products
    rows = products.rows[place]
    # Evenly from the densest to the least dense: the least dense ones show what went wrong.
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _PICTURES)).round().astype(int))]
    return ShownProduct(
        title=_title(finds, place),
        facts=tuple(_facts(finds, place)),
        pictures=tuple(_picture(finds, int(row)) for row in shown),
        num_more=len(rows) - len(shown),
        truth=_truth(finds, rows),
        **_like(finds, place),
    )


def _facts(finds: RoundFindings, place: int) -> Iterable[str]:
    products = finds.products
    rows, cluster = products.rows[place], int(products.clusters[place])
    yield f"{_images(len(rows))}{_of_all(len(rows), int(products.cluster_sizes[place]))}"
    margin = f", margin {products.margin[place]:.2f}" if products.is_new[place] else ""
    yield f"density {products.density[place]:.2f}{margin}"
    if cluster < 0:
        yield f"selected in round {finds.selection.selected_in[rows].min()}"
    elif finds.suggested_name(place) != f"new {cluster}":
        yield f"cluster {cluster}"


def _title(finds: RoundFindings, place: int) -> str:
    suggested = finds.suggested_name(place)
    return suggested[:1].upper() + suggested[1:] if suggested.startswith(("new ", "pseudo-class ")) else suggested


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number:,} images"


def _of_all(selected: int, size: int) -> str:
    return f" of the cluster's {size:,}" if size > selected else ""


def _picture(finds: RoundFindings, place: int) -> ShownPicture:
    row = int(finds.selection.rows[place])
    return ShownPicture(finds.path(row), f"{finds.table.paths[row]}, density {finds.selection.density[place]:.2f}")


def _like(finds: RoundFindings, place: int) -> dict[str, Any]:
    """The nearest known class, and another new product that is nearer, with a picture of the nearest."""
    products = finds.products
    known, other = int(products.nearest_known[place]), int(products.nearest_other[place])
    is_new = bool(products.is_new[place])
    like = "" if known < 0 else f"{finds.known_names[known]}, known, cosine {products.known_cosine[place]:.2f}"
    if not is_new and known == products.labels[place]:
        like = f"cosine with the class {products.known_cosine[place]:.2f}"
    elif like:
        like = f"like {like}"
    row = int(finds.known_rows[known]) if known >= 0 else -1
    picture = ShownPicture(finds.path(row) if row >= 0 else None, finds.known_names[known]) if known >= 0 else None
    if is_new and other >= 0 and not products.other_cosine[place] <= products.known_cosine[place]:
        # The nearer of the two is pictured.
        picture = _picture(finds, int(products.rows[other][0]))
        first = f"like {_title(finds, other)}, cosine {products.other_cosine[place]:.2f}"
        like = f"{first}; {like}" if like else first
    return {"like": like, "like_picture": picture}


def _truth(finds: RoundFindings, rows: np.ndarray) -> str:
    """What most of the images are, with their share, where that is known."""
    truth = finds.true_labels[rows]
    truth = truth[truth >= 0]
    if not len(truth):
        return ""
    classes, counts = np.unique(truth, return_counts=True)
    most = int(counts.argmax())
    name, num_known = finds.true_name(int(classes[most])), len(finds.known_names)
    kind = "known" if classes[most] < num_known else "new"
    return f"truth: {100 * counts[most] / len(truth):.0f}% {name} ({kind})"
