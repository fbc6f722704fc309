"""The progress of a pass over images: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shelfmark.core.log import say
from shelfmark.core.terminal import duration
from shelfmark.data.image_bar import image_bar

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def pass_bar(phase: str, num_images: int) -> Iterator[Callable[[int], None]]:
    """A block that calls what it gets with the number of images of each batch. num_images: of this process."""
    with image_bar(phase, num_images) as show:
        yield _reporter(phase, num_images, show)


def _reporter(phase: str, num_images: int, show: Callable[[int], None] | None) -> Callable[[int], None]:
    """show: takes the number of images done; None writes lines."""
    began = shown = time.monotonic()
    total = 0

    def report(done: int) -> None:
        nonlocal shown, total
        total += done
        if show is not None:
            show(total)
            return
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES and total < num_images:
            shown = now
            left_s = (now - began) / total * (num_images - total)
            say(f"{phase}: {total:,} of {num_images:,} images, {duration(left_s)} left")

    return report
