"""What `shelfmark shrink` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shelfmark.core.log import say
from shelfmark.core.sizes import size_text
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.shrink import Packed


def packed(found: Packed) -> None:
    """How many images, their bytes before and after, and the training that reads them."""
    unread = f"; {found.num_unreadable:,} could not be read" if found.num_unreadable else ""
    say(
        f"{counted(found.num_images, 'image')} in {found.folder}: {size_text(found.bytes_before)} before,"
        f" {size_text(found.bytes_after)} now, {found.share:.0%}{unread}"
    )
    say(f"train on them: {found.command}")
