"""Where pictures come from: the bytes of each, by its row. `data.images` makes pixels of them."""

from shelfmark.data.sources.files import FileSource
from shelfmark.data.sources.memory import MemorySource
from shelfmark.data.sources.source import ImageSource, Picture, UnreadableImage

__all__ = ["FileSource", "ImageSource", "MemorySource", "Picture", "UnreadableImage"]
