"""How good a model is: features, scores and prediction files."""

from shelfmark.evaluation import classification, retrieval

__all__ = ["classification", "retrieval"]
