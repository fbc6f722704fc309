"""Which clusterer to take where none is named."""

from __future__ import annotations

from shelfmark.discovery.clusterers import infomap

MANY_CLASSES = 300
"""Labelled classes from which on a network that learns to cluster is worth its training."""


def choose_clusterer(num_classes: int) -> tuple[str, str]:
    """A clusterer's name and, in one line, why it. num_classes: labelled ones with images to learn from."""
    if num_classes >= MANY_CLASSES:
        return "lander", f"lander, because {num_classes:,} labelled classes (at least {MANY_CLASSES}) can teach it"
    few = f"{num_classes:,} labelled classes (fewer than {MANY_CLASSES}) are too few to teach lander"
    if infomap.is_installed():
        return "infomap", f"infomap, because {few} and infomap is installed"
    return "components", f"components, because {few} and infomap is not installed (pip install 'shelfmark[infomap]')"
