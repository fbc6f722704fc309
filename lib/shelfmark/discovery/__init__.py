"""New products among photographs without labels: a graph of neighbours, its clusters, and which of them to trust."""

from shelfmark.discovery import decode, hierarchy, lander, select

__all__ = ["decode", "hierarchy", "lander", "select"]
