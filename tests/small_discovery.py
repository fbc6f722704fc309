"""A few pictures of the shop for discovery: reading thousands of records would take longer than all the rest."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from shelfmark.shop.discovery_shop import write_discovery_shop

PICTURES_OF_A_CLASS = 4
CLASSES = {"labelled": 9, "unlabelled": 8, "test": 6}


def write_small_discovery(shop: Path, file: Path) -> None:
    """Annotations of the first pictures of some classes for each role, in the order of the shop's."""
    document = json.loads(write_discovery_shop(shop).read_text())
    taken: Counter[tuple[str, int]] = Counter()
    classes: dict[str, set[int]] = {role: set() for role in CLASSES}
    records = []
    for record in document["annotations"]:
        role = record["role"]
        label = record["true_category_id"] if record["category_id"] is None else record["category_id"]
        is_new = label not in classes[role]
        if taken[role, label] == PICTURES_OF_A_CLASS or (is_new and len(classes[role]) == CLASSES[role]):
            continue
        classes[role].add(label)
        taken[role, label] += 1
        records.append(record)
    file.write_text(json.dumps({**document, "annotations": records}))
