"""Which clusterer to take where none is named."""

from __future__ import annotations

from shelfmark.discovery.clusterers import infomap

MANY_CLASSES = 300
"""With this many labelled classes it is worth training a network to cluster."""


def choose_clusterer(num_classes: int) -> tuple[str, str]:
    """A clusterer's name and, in one line, why it. num_classes: labelled ones with images to learn from.

    Infomap goes before lander because it grouped better in `make bench-discovery`, without training.
    """
    if infomap.is_installed():
        return "infomap", "infomap, because it is installed; of all it grouped best where they were compared"
    missing = "infomap is not installed (pip install infomap)"
    if num_classes >= MANY_CLASSES:
        return "lander", f"lander, because {missing} and {num_classes:,} labelled classes can teach it"
    few = f"{num_classes:,} labelled classes (fewer than {MANY_CLASSES}) are too few to teach lander"
    return "components", f"components, because {missing} and {few}"
