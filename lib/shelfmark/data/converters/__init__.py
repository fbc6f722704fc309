"""Data sets as they are published, or as a user has them, to Shelfmark's annotation format."""

from shelfmark.data.converters.aliproducts import prepare_aliproducts
from shelfmark.data.converters.folder import prepare_folder
from shelfmark.data.converters.grocery import prepare_grocery
from shelfmark.data.converters.prepared import Prepared

__all__ = ["Prepared", "prepare_aliproducts", "prepare_folder", "prepare_grocery"]
