"""The heads on the embedding: a classifier, and any number of metric and proxy heads."""

from shelfmark.models.heads.classifier import Classifier, CosineClassifier, LinearClassifier
from shelfmark.models.heads.metric import MetricHead
from shelfmark.models.heads.proxy import ProxyHead

__all__ = ["Classifier", "CosineClassifier", "LinearClassifier", "MetricHead", "ProxyHead"]
