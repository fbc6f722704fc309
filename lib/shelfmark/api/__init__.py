"""What a Python program imports from `shelfmark` itself."""

from shelfmark.api.model import Model, load
from shelfmark.api.run import Run, train
from shelfmark.runtime.searcher import Searcher

__all__ = ["Model", "Run", "Searcher", "load", "train"]
