"""The progress of a pass over images: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shelfmark.core import dist
from shelfmark.core.log import say

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def pass_bar(phase: str, num_images: int) -> Iterator[Callable[[int], None]]:
    """A block that calls what it gets with the number of images that are done. num_images: of this process."""
    console = Console()
    if not dist.is_main() or not console.is_terminal:
        yield _lines(phase, num_images)
        return
    columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as bar:
        task = bar.add_task(phase, total=num_images)
        yield lambda done: bar.advance(task, done)


def _lines(phase: str, num_images: int) -> Callable[[int], None]:
    began = shown = time.monotonic()
    total = 0

    def report(done: int) -> None:
        nonlocal shown, total
        total += done
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES and total < num_images:
            shown = now
            left_s = (now - began) / total * (num_images - total)
            say(f"{phase}: {total:,} of {num_images:,} images, {left_s:.0f} s left")

    return report
