"""What counts as too large. A file of its own, so that the options of data are read without what decodes pictures."""

MAX_CLASSES = 100_000_000
"""Ten times the products of the largest catalogue that Shelfmark is made for: a larger number is a mistake."""
MAX_BYTES = 100_000_000
"""Bytes of the largest picture that is read where nothing else is said; the default of data.max_image_bytes."""
MAX_PIXELS = 100_000_000
"""Width times height of the largest picture that is read where nothing else is said; of data.max_image_pixels.

A JPEG of more pixels is read at a half, a quarter or an eighth of its width and height, where that fits.
"""
PILLOW_MAX_PIXELS = 178_956_970
"""Above that Pillow opens nothing."""
