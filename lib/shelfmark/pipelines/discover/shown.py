"""The products of a round as its page shows them. The page itself is that of `reports.round_page`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from shelfmark.core.wording import counted
from shelfmark.pipelines.discover.findings import RoundFindings
from shelfmark.reports.discovery_page import ShownPicture, ShownProduct
from shelfmark.reports.round_page import DiscoveredRound

_PRODUCTS, _PICTURES = 10, 15


def discovered_round(findings: RoundFindings, run: str) -> DiscoveredRound:
    """run: its name."""
    products = findings.products

    def shown(places: np.ndarray) -> tuple[ShownProduct, ...]:
        return tuple(_product(findings, int(place)) for place in places[:_PRODUCTS])

    return DiscoveredRound(
        run,
        num_labelled=findings.sets.images.get("labelled", 0),
        num_known_classes=len(findings.known_names),
        num_unlabelled=len(findings.selection.rows),
        num_new=int(products.is_new.sum()),
        num_joined=int((~products.is_new).sum()),
        largest=shown(products.largest()),
        densest=shown(products.densest()),
        most_doubtful=shown(products.most_doubtful()),
        joined=shown(products.joined()),
    )


def _product(findings: RoundFindings, place: int) -> ShownProduct:
    rows = findings.products.rows[place]
    # Evenly from the densest to the least dense image: the least dense images show mistakes.
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _PICTURES)).round().astype(int))]
    return ShownProduct(
        title=findings.title(place),
        facts=tuple(_facts(findings, place)),
        pictures=tuple(_picture(findings, int(row)) for row in shown),
        num_more=len(rows) - len(shown),
        truth=_truth(findings, rows),
        **_like(findings, place),
    )


def _facts(findings: RoundFindings, place: int) -> Iterable[str]:
    products = findings.products
    rows, cluster, size = products.rows[place], int(products.clusters[place]), int(products.cluster_sizes[place])
    images = counted(len(rows), "image")
    yield f"{images} of the cluster's {size:,}" if size > len(rows) else images
    margin = f", margin {products.margin[place]:.2f}" if products.is_new[place] else ""
    yield f"density {products.density[place]:.2f}{margin}"
    if cluster < 0:
        yield f"selected in round {findings.selection.selected_in[rows].min()}"
    elif findings.has_name(place):
        yield f"cluster {cluster}"


def _picture(findings: RoundFindings, place: int) -> ShownPicture:
    row = int(findings.selection.rows[place])
    note = f"{findings.table.paths[row]}, density {findings.selection.density[place]:.2f}"
    return ShownPicture(findings.picture(row), note)


def _like(findings: RoundFindings, place: int) -> dict[str, Any]:
    """The most similar known class or, if one is nearer, another new product, as text; with a picture of the nearer."""
    products = findings.products
    known, other = int(products.nearest_known[place]), int(products.nearest_other[place])
    like, picture = "", None
    if known >= 0:
        name, cosine, row = findings.known_names[known], products.known_cosine[place], int(findings.known_rows[known])
        picture = ShownPicture(findings.picture(row) if row >= 0 else None, name)
        is_own = known == products.labels[place]
        like = f"cosine with the class {cosine:.2f}" if is_own else f"like {name}, known, cosine {cosine:.2f}"
    if products.is_new[place] and other >= 0 and not products.other_cosine[place] <= products.known_cosine[place]:
        picture = _picture(findings, int(products.rows[other][0]))
        first = f"like {findings.title(other)}, cosine {products.other_cosine[place]:.2f}"
        like = f"{first}; {like}" if like else first
    return {"like": like, "like_picture": picture}


def _truth(findings: RoundFindings, rows: np.ndarray) -> str:
    """The most frequent true class of the images, with its share, if true classes are known."""
    truth = findings.true_labels[rows]
    truth = truth[truth >= 0]
    if not len(truth):
        return ""
    classes, counts = np.unique(truth, return_counts=True)
    most = int(classes[counts.argmax()])
    kind = "known" if most < len(findings.known_names) else "new"
    return f"truth: {100 * counts.max() / len(truth):.0f}% {findings.true_name(most)} ({kind})"
