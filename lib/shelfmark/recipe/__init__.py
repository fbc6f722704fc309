"""The config tree of a run, and the one place that turns it into objects."""

from shelfmark.recipe.tree import Recipe

__all__ = ["Recipe"]
