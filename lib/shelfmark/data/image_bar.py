"""The bar of a pass over images, in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shelfmark.core import dist
from shelfmark.core.terminal import console_settings


@contextmanager
def image_bar(phase: str, num_images: int, begun: int = 0) -> Iterator[Callable[[int], None] | None]:
    """A block that calls what it gets with the number of images that are done, counted from the start of the bar.

    None where nothing is shown: without a terminal, and in other processes than the first. begun: images that were done
    before.
    """
    console = Console(**console_settings())
    if not dist.is_main() or not console.is_terminal:
        yield None
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
