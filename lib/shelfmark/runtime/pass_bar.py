"""The progress of a pass over images that come in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shelfmark.data.image_bar import image_bar


@contextmanager
def pass_bar(phase: str, num_images: int) -> Iterator[Callable[[int], None]]:
    """A block that calls what it gets with the number of images of each batch. num_images: of this process."""
    total = 0
    with image_bar(phase, num_images) as show:

        def report(done: int) -> None:
            nonlocal total
            total += done
            show(total)

        yield report
