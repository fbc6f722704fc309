"""Pictures on a page, as small JPEGs within it, and the room that they may take."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from shelfmark.data.sources import Picture
from shelfmark.reports.thumbnails import Thumbnails, small_jpeg

SIDE_PX = 112


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture with what is said of it.

    picture: of a source, or pixels (H, W, 3) uint8 RGB; None where there is none to show. alt: what a reader who cannot
    see it is told. caption: the line below. mark: a verdict, told by a sign besides its colour. side_px: of the longer
    side of pixels; None for that of the page's pictures.
    """

    picture: Picture | np.ndarray | None
    alt: str
    caption: str = ""
    mark: Literal["", "right", "wrong"] = ""
    side_px: int | None = None

    @property
    def without_caption(self) -> Shown:
        return replace(self, caption="")


class PictureBudget:
    """Makes pictures for a page until their room is used up, and counts those that were left out.

    limit_bytes: of the text that pictures become, in bytes.
    """

    def __init__(self, limit_bytes: int, side_px: int = SIDE_PX, made: Thumbnails | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = self.num_shown = self.num_left_out = 0
        self.made = made or Thumbnails(side_px)

    def source(self, shown: Shown) -> str:
        """The picture as a data URI; "" where it is not there, cannot be read, or has no room."""
        found = self._uri(shown)
        if not found:
            return ""
        if self.used_bytes + len(found) > self.limit_bytes:
            self.num_left_out += 1
            return ""
        self.used_bytes += len(found)
        self.num_shown += 1
        return found

    def why_absent(self, shown: Shown) -> str:
        """What stands in the place of a picture that `source` does not give."""
        if shown.picture is None:
            return "no picture"
        return "left out" if self._uri(shown) else "cannot be read"

    def _uri(self, shown: Shown) -> str | None:
        if shown.picture is None:
            return None
        if not isinstance(shown.picture, np.ndarray):
            return self.made.data_uri(shown.picture)
        jpeg = small_jpeg(shown.picture, shown.side_px or self.made.side_px)
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
