"""The generated shop for discovery: half of its products are known, the other half waits to be found.

One file beside the shop's own, with a role for each picture. Half of the trained products, of every size and in every
family, are labelled; of their pictures floor(0.6 n) + 1 are (as in the published sets of progressive sample selection),
the others stand among the unlabelled ones, and so do all training pictures of the other half. The test is on products
that were never labelled: the val pictures of that other half, and all products that the shop does not train at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_text
from shelfmark.core.rng import numpy_generator
from shelfmark.data.documents import annotations_json
from shelfmark.shop import is_complete

NAME = "discovery.json"


def write_discovery_shop(root: Path, seed: int = 0) -> Path:
    """Writes discovery.json into a generated shop, and returns its path; the same seed gives the same bytes.

    seed: which products are known, and which of their pictures are labelled.
    """
    if not is_complete(root):
        raise UserError(f"{root} is not a whole generated shop; `shelfmark prepare shop --out {root}` makes one.")
    files = {name: read_json(root / f"{name}.json") for name in ("train", "val", "retrieval")}
    labels = np.array([record["category_id"] for record in files["train"]["annotations"]])
    is_known = known_products(np.bincount(labels), files["train"]["groups"], seed)
    is_labelled = labelled_pictures(labels, seed) & is_known[labels]
    num_trained = len(is_known)
    pictures = [
        *(_trained(record, bool(known)) for record, known in zip(files["train"]["annotations"], is_labelled)),
        *(_test(one, 0) for one in files["val"]["annotations"] if not is_known[one["category_id"]]),
        *(_test(one, num_trained) for one in files["retrieval"]["annotations"]),
    ]
    written = annotations_json(
        pictures,
        num_trained + files["retrieval"]["num_classes"],
        [*files["train"]["class_names"], *files["retrieval"]["class_names"]],
        [*files["train"]["groups"], *files["retrieval"]["groups"]],
    )
    write_text(root / NAME, written.decode())
    return root / NAME


def known_products(counts: np.ndarray, groups: list[str], seed: int) -> np.ndarray:
    """(C,) bool: one of every two products that are next to each other in size, drawn until each group has known and
    unknown products.

    counts: (C,) pictures of each. groups: (C,) the family of each.
    """
    by_size = np.argsort(-counts, kind="stable")
    pairs = by_size[: len(by_size) // 2 * 2].reshape(-1, 2)
    generator = numpy_generator(seed, "discovery_shop.known")
    families = np.unique(groups, return_inverse=True)[1]
    large = np.flatnonzero(np.bincount(families) > 1)
    while True:
        chosen = pairs[np.arange(len(pairs)), generator.integers(0, 2, len(pairs))]
        is_known = np.zeros(len(counts), dtype=bool)
        is_known[chosen] = True
        known = np.bincount(families[is_known], minlength=len(large))
        if all(0 < known[family] < np.count_nonzero(families == family) for family in large):
            return is_known


def labelled_pictures(labels: np.ndarray, seed: int) -> np.ndarray:
    """(N,) bool: floor(0.6 n) + 1 of a product's n pictures, drawn at random. labels: (N,) int64, each picture's."""
    order = numpy_generator(seed, "discovery_shop.labelled").permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(labels), dtype=np.int64)
    place[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return place < (6 * counts[labels]) // 10 + 1


def _trained(record: dict[str, Any], is_labelled: bool) -> dict[str, Any]:
    if is_labelled:
        return {**record, "role": "labelled"}
    hidden = {"category_id": None, "true_category_id": record["category_id"], "role": "unlabelled"}
    return {**record, **hidden}


def _test(record: dict[str, Any], offset: int) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in ("is_query", "is_gallery")}
    return {**kept, "category_id": record["category_id"] + offset, "role": "test"}
