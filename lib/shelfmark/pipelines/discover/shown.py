"""What the page of a round shows, collected. The words are those of `reports.round_page`."""

from __future__ import annotations

import numpy as np

from shelfmark.pipelines.discover.finds import RoundFindings
from shelfmark.reports.html_page import ShownPicture
from shelfmark.reports.round_page import DiscoveredRound, Likeness, RoundProduct, Truth

_PRODUCTS, _PICTURES = 10, 15


def discovered_round(finds: RoundFindings, run: str) -> DiscoveredRound:
    """run: its name."""
    products = finds.products
    rankings = {
        "largest": products.largest(),
        "densest": products.densest(),
        "most_doubtful": products.most_doubtful(),
        "joined": products.joined(),
    }
    return DiscoveredRound(
        run,
        num_labelled=finds.sets.images.get("labelled", 0),
        num_known_classes=len(finds.known_names),
        num_unlabelled=len(finds.selection.rows),
        num_new=int(products.is_new.sum()),
        num_joined=int((~products.is_new).sum()),
        **{
            name: tuple(_product(finds, int(place)) for place in places[:_PRODUCTS])
            for name, places in rankings.items()
        },
    )


def _product(finds: RoundFindings, place: int) -> RoundProduct:
    products = finds.products
    rows = products.rows[place]
    # Evenly from the densest to the least dense: the least dense ones show what went wrong.
    shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _PICTURES)).round().astype(int))]
    return RoundProduct(
        title=finds.title(place),
        is_new=bool(products.is_new[place]),
        has_name=finds.has_name(place),
        cluster=int(products.clusters[place]),
        cluster_size=int(products.cluster_sizes[place]),
        selected_in=int(finds.selection.selected_in[rows].min()),
        num_images=len(rows),
        density=float(products.density[place]),
        margin=float(products.margin[place]),
        pictures=tuple(_picture(finds, int(row)) for row in shown),
        known=_known(finds, place),
        joined_known=bool(products.nearest_known[place] == products.labels[place]),
        other=_other(finds, place),
        truth=_truth(finds, rows),
    )


def _picture(finds: RoundFindings, place: int) -> ShownPicture:
    row = int(finds.selection.rows[place])
    return ShownPicture(finds.path(row), f"{finds.table.paths[row]}, density {finds.selection.density[place]:.2f}")


def _known(finds: RoundFindings, place: int) -> Likeness | None:
    known = int(finds.products.nearest_known[place])
    if known < 0:
        return None
    row, name = int(finds.known_rows[known]), finds.known_names[known]
    picture = ShownPicture(finds.path(row) if row >= 0 else None, name)
    return Likeness(name, float(finds.products.known_cosine[place]), picture)


def _other(finds: RoundFindings, place: int) -> Likeness | None:
    products = finds.products
    other = int(products.nearest_other[place])
    if other < 0:
        return None
    densest = _picture(finds, int(products.rows[other][0]))
    return Likeness(finds.title(other), float(products.other_cosine[place]), densest)


def _truth(finds: RoundFindings, rows: np.ndarray) -> Truth | None:
    truth = finds.true_labels[rows]
    truth = truth[truth >= 0]
    if not len(truth):
        return None
    classes, counts = np.unique(truth, return_counts=True)
    most = int(classes[counts.argmax()])
    return Truth(finds.true_name(most), 100 * counts.max() / len(truth), most < len(finds.known_names))
