"""What `shelfmark plan` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shelfmark.core.sizes import size_text
from shelfmark.core.terminal import console_settings, duration
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.runtime.forecast.forecast import Forecast


def plan(found: Forecast) -> None:
    """What takes the memory, what fits, how long it takes, and how sure that is."""
    memory, held = found.memory, found.memory.held
    table = Table(box=SIMPLE_HEAD)
    table.add_column("memory at the highest point of a step", overflow="fold")
    table.add_column("", justify="right")
    rows = [
        ("weights and statistics", held.weights),
        ("gradients", held.gradients),
        ("state of the optimizer", held.optimizer),
        ("average of the weights", held.average),
        ("memories of losses", held.memories),
        (f"pictures, {found.shape.batch_size:,}", memory.inputs),
        (f"activations of {found.at_once:,}, and what is computed on the way", memory.activations),
        ("the program itself", memory.program),
    ]
    for name, size in rows:
        if size:
            table.add_row(name, size_text(size))
    table.add_section()
    table.add_row("all", size_text(memory.total))
    console = Console(**console_settings())
    console.print()
    console.print(table)
    for line in (*_fits(found), *_times(found), "how sure:", *(f"  {told}" for told in found.sure)):
        console.print(line, soft_wrap=True)


def _fits(found: Forecast) -> list[str]:
    memory = found.memory
    verdict = "fits into" if memory.fits else "does not fit into"
    lines = [
        f"of the activations, one array of logits, of {counted(found.shape.num_classes, 'class')}:"
        f" {size_text(memory.logits)}",
        f"this {verdict} {size_text(memory.limit)} on {found.device}, {found.precision}",
    ]
    largest = f"at most {counted(found.largest_at_once, 'image')} would fit at once"
    if found.largest_at_once and found.largest_batch is not None:
        largest += f": train.batch_size={found.largest_batch}"
    return [*lines, largest if found.largest_at_once else "not even one image would fit"]


def _times(found: Forecast) -> list[str]:
    times = found.time
    steps = ", ".join(f"{seconds:.3g} s" for seconds in times.step_s)
    return [
        f"time: {duration(times.total_s)}: {sum(times.num_steps):,} steps of {steps}, in all"
        f" {duration(times.training_s)}; evaluations {duration(times.evaluation_s)}",
        f"a batch is read in {times.read_s:.3g} s",
    ]
