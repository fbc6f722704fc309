"""Where pictures come from: the bytes of each, by its row. `data.images` makes pixels of them."""

from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.given import GivenSource
from shelfmark.data.sources.source import FetchingSource, ImageSource, Picture, UnreadableImage

__all__ = ["FetchingSource", "FileSource", "GivenSource", "ImageSource", "Picture", "UnreadableImage"]
