"""Networks for tests, with options as a config names them."""

from __future__ import annotations

from typing import Any

from shelfmark.models.network import Network, build_network
from shelfmark.models.options import ModelOptions

METRIC_8 = {"dim": 8}


def small_network(num_classes: int = 7, seed: int = 0, **options: Any) -> Network:
    """timm's test_resnet with a classifier, or what the options of `model` say."""
    return build_network(ModelOptions(**{"backbone": "test_resnet", **options}), num_classes, seed)


def proxies(dim: int = 8, centers_per_class: int = 1) -> dict[str, Any]:
    """A proxy head."""
    return {"type": "proxy", "dim": dim, "centers_per_class": centers_per_class}
