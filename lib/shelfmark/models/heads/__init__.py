"""What stands on the embedding: a classifier, and any number of metric heads."""

from shelfmark.models.heads.classifier import Classifier, CosineClassifier, LinearClassifier
from shelfmark.models.heads.metric import MetricHead

__all__ = ["Classifier", "CosineClassifier", "LinearClassifier", "MetricHead"]
