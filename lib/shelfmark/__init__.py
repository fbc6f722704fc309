"""Shelfmark: train, recalibrate, search and explain models that recognise products."""

__version__ = "0.1.0"
