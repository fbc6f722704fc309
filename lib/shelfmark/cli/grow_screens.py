"""What `shelfmark grow` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.core.terminal import percent
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.grow import Growth

_NUM_SHOWN = 20


def grown(result: Growth) -> None:
    """The new classes, what they change for the old ones, and how well they are known."""
    for label, name in list(result.classes.items())[:_NUM_SHOWN]:
        print(printable(f"{name} ({label}): {counted(result.counts[label], 'picture')}", one_line=True))
    if len(result.classes) > _NUM_SHOWN:
        print(f"and {len(result.classes) - _NUM_SHOWN:,} more new classes")
    old, new = result.old, result.new
    if old is None:
        print("old classes: not measured, without val images")
    else:
        print(
            f"old classes: top-1 {percent(old.top1_before)} before, {percent(old.top1_after)} now, of"
            f" {old.num_images:,} val images"
        )
        print(
            f"{old.num_taken:,} of these now go to a new class, and {old.num_right_before:,} were right before;"
            f" mean probability of the right class {percent(old.probability_before)} before,"
            f" {percent(old.probability_after)} now"
        )
    if new.top1 is None:
        print("new classes: not measured, since each has one picture")
    else:
        print(f"new classes: top-1 {percent(new.top1)} of {new.num_images:,} pictures, each left out in turn")
