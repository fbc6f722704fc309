"""How good a model is: features and scores."""

from shelfmark.evaluation import classification, retrieval

__all__ = ["classification", "retrieval"]
