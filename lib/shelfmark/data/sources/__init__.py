"""Where pictures come from: the bytes of each, by its row. `data.images` makes pixels of them."""

from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.given import GivenSource
from shelfmark.data.sources.source import ImageSource, Picture, UnreadableImage

__all__ = ["FileSource", "GivenSource", "ImageSource", "Picture", "UnreadableImage"]
