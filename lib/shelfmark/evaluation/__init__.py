"""Features and scores of a model."""

from shelfmark.evaluation import classification, retrieval

__all__ = ["classification", "retrieval"]
