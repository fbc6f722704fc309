"""Finds training images whose label does not fit their features."""
