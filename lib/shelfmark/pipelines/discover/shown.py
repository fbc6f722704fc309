"""What the page of a round shows, collected. The words are those of `reports.round_page`."""

from __future__ import annotations

import numpy as np

from shelfmark.pipelines.discover.findings import RoundFindings
from shelfmark.reports.html_page import ShownPicture
from shelfmark.reports.round_page import DiscoveredRound, Likeness, RoundProduct, Truth

_PRODUCTS, _PICTURES = 10, 15


def discovered_round(findings: RoundFindings, run: str) -> DiscoveredRound:
    """run: its name."""
    products = findings.products
    rankings = {
        "largest": products.largest(),
        "densest": products.densest(),
        "most_doubtful": products.most_doubtful(),
        "joined": products.joined(),
    }
    return DiscoveredRound(
        run,
        num_labelled=findings.sets.images.get("labelled", 0),
        num_known_classes=len(findings.known_names),
        num_unlabelled=len(findings.selection.rows),
        num_new=int(products.is_new.sum()),
        num_joined=int((~products.is_new).sum()),
        **{
            name: tuple(_product(findings, int(place)) for place in places[:_PRODUCTS])
            for name, places in rankings.items()
        },
    )


def _product(findings: RoundFindings, place: int) -> RoundProduct:
    products = findings.products
    rows = products.rows[place]
    # Evenly from the densest to the least dense: the least dense ones show what went wrong.
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _PICTURES)).round().astype(int))]
    return RoundProduct(
        title=findings.title(place),
        is_new=bool(products.is_new[place]),
        has_name=findings.has_name(place),
        cluster=int(products.clusters[place]),
        cluster_size=int(products.cluster_sizes[place]),
        selected_in=int(findings.selection.selected_in[rows].min()),
        num_images=len(rows),
        density=float(products.density[place]),
        margin=float(products.margin[place]),
        pictures=tuple(_picture(findings, int(row)) for row in shown),
        known=_known(findings, place),
        joined_known=bool(products.nearest_known[place] == products.labels[place]),
        other=_other(findings, place),
        truth=_truth(findings, rows),
    )


def _picture(findings: RoundFindings, place: int) -> ShownPicture:
    row = int(findings.selection.rows[place])
    return ShownPicture(
        findings.path(row), f"{findings.table.paths[row]}, density {findings.selection.density[place]:.2f}"
    )


def _known(findings: RoundFindings, place: int) -> Likeness | None:
    known = int(findings.products.nearest_known[place])
    if known < 0:
        return None
    row, name = int(findings.known_rows[known]), findings.known_names[known]
    picture = ShownPicture(findings.path(row) if row >= 0 else None, name)
    return Likeness(name, float(findings.products.known_cosine[place]), picture)


def _other(findings: RoundFindings, place: int) -> Likeness | None:
    products = findings.products
    other = int(products.nearest_other[place])
    if other < 0:
        return None
    densest = _picture(findings, int(products.rows[other][0]))
    return Likeness(findings.title(other), float(products.other_cosine[place]), densest)


def _truth(findings: RoundFindings, rows: np.ndarray) -> Truth | None:
    truth = findings.true_labels[rows]
    truth = truth[truth >= 0]
    if not len(truth):
        return None
    classes, counts = np.unique(truth, return_counts=True)
    most = int(classes[counts.argmax()])
    return Truth(findings.true_name(most), 100 * counts.max() / len(truth), most < len(findings.known_names))
