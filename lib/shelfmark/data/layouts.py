"""The layouts of data that `shelfmark prepare` knows. Stands apart from the converters, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Parts = Literal["as published", "drawn", "long-tailed", "generated"]

LAYOUTS: Mapping[str, Parts] = {
    "aliproducts": "as published",
    "cifar10_lt": "long-tailed",
    "cifar100_lt": "long-tailed",
    "grocery": "as published",
    "folder": "drawn",
    "shop": "generated",
    "sop": "drawn",
    "cub": "drawn",
    "cars196": "drawn",
    "inshop": "drawn",
    "inaturalist": "drawn",
    "vehicleid": "drawn",
    "products10k": "drawn",
    "pss": "as published",
    "pss_clusters": "as published",
    "pss_features": "as published",
}
"""Of each where its parts come from. `drawn`: its converter draws the images or classes of validation."""
