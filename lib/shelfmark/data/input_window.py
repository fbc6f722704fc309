"""Where the network's input lies in the picture that it was cut out of. Legend: H x W pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shelfmark.data.options import DataOptions
from shelfmark.data.resizing import LARGEST_ASPECT
from shelfmark.data.transforms import evaluation_resize_px


class Box(NamedTuple):
    """A rectangle by its edges: of the picture in pixels from its upper left corner, or in shares of the input."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def as_json(self) -> list[int]:
        """[x, y, width, height] in whole pixels."""
        left, top, right, bottom = (round(edge) for edge in self)
        return [left, top, right - left, bottom - top]


@dataclass(frozen=True)
class InputWindow:
    """The input's edges in pixels of the upright picture, (height, width). They lie outside of it where the input has
    a black border."""

    edges: Box
    height: int
    width: int

    def in_picture(self, part: Box) -> Box:
        """A part of the input, in shares of its sides, as a rectangle of the picture; without what is outside."""
        left, top, _, _ = self.edges
        xs = [left + share * self.edges.width for share in (part.left, part.right)]
        ys = [top + share * self.edges.height for share in (part.top, part.bottom)]
        (x0, x1), (y0, y1) = (
            [min(max(0.0, x), side) for x in pair] for pair, side in ((xs, self.width), (ys, self.height))
        )
        return Box(x0, y0, x1, y1)


def evaluation_window(height: int, width: int, size: int, data: DataOptions) -> InputWindow:
    """The window that `data.transforms.eval_transform` takes of a picture of that height and width."""
    resize_px = evaluation_resize_px(size, data)
    seen_height, seen_width = height, width
    if len(resize_px) == 1:
        longest = LARGEST_ASPECT * min(height, width)
        seen_height, seen_width = min(height, longest), min(width, longest)
    new_height, new_width = resized_sides(seen_height, seen_width, resize_px)
    top, bottom = _edges(height, seen_height, new_height, size)
    left, right = _edges(width, seen_width, new_width, size)
    return InputWindow(Box(left, top, right, bottom), height, width)


def whole_window(height: int, width: int) -> InputWindow:
    """The window of an input that is the whole picture."""
    return InputWindow(Box(0, 0, width, height), height, width)


def resized_sides(height: int, width: int, resize_px: list[int]) -> tuple[int, int]:
    """Height and width behind the resize: [] none, [shorter side] or [height, width]."""
    match resize_px:
        case []:
            return height, width
        case [shorter]:
            longer = int(shorter * max(height, width) / min(height, width))
            return (shorter, longer) if height <= width else (longer, shorter)
        case _:
            return resize_px[0], resize_px[1]


def _edges(side: int, seen: int, resized: int, size: int) -> tuple[float, float]:
    """The input's two edges along one side of the picture, of which the middle `seen` pixels were resized."""
    # torchvision rounds an odd border down before the picture, and cuts as Python rounds.
    start = -((size - resized) // 2) if size > resized else round((resized - size) / 2)
    cut = round((side - seen) / 2)
    scale = seen / resized
    return cut + start * scale, cut + (start + size) * scale
