"""What a Python program imports from `shelfmark` itself."""

from shelfmark.api.gallery import Gallery, load_index
from shelfmark.api.model import Model, load
from shelfmark.api.run import Run, train

__all__ = ["Gallery", "Model", "Run", "load", "load_index", "train"]
