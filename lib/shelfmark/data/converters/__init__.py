"""Data sets as they are published, or as a user has them, to Shelfmark's annotation format; see `data/layouts.py`."""
