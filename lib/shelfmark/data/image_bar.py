"""The progress of a pass over images: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shelfmark.core import dist
from shelfmark.core.log import say
from shelfmark.core.terminal import console_settings, duration

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def image_bar(phase: str, num_images: int, begun: int = 0) -> Iterator[Callable[[int], None]]:
    """A block that calls what it gets with the number of images that are done, those of before among them.

    begun: images that were done before. The first process alone shows anything.
    """
    console = Console(**console_settings())
    if not dist.is_main() or not console.is_terminal:
        yield _lines(phase, num_images, begun)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28 if console.width >= 80 else 8),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("left"), console=console, transient=True) as bar:
        task = bar.add_task(phase, total=num_images, completed=begun)
        yield lambda done: bar.update(task, completed=done)


def _lines(phase: str, num_images: int, begun: int) -> Callable[[int], None]:
    began = shown = time.monotonic()

    def report(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES and begun < done < num_images:
            shown = now
            left_s = (now - began) / (done - begun) * (num_images - done)
            say(f"{phase}: {done:,} of {num_images:,} images, {duration(left_s)} left")

    return report
