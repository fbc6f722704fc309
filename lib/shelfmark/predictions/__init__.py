"""Prediction files: submissions, and the mean of several."""
