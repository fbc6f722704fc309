"""What `shelfmark explain` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from shelfmark.core.terminal import console_settings
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.pipelines.explain import Explained


def explained(found: Sequence[Explained]) -> None:
    """For each photograph the answer, its regions and what would tip it, and the files of its pictures."""
    from shelfmark.runtime.explained_pictures import answer_in_words, in_words, neighbour_in_words

    console = Console(**console_settings())
    for one in found:
        console.print()
        photo = printable(one.photo, one_line=True)
        if one.error is not None:
            console.print(Text(f"{photo}: could not be read: {one.error}"), soft_wrap=True)
            continue
        console.print(Text(photo, style="bold"), soft_wrap=True)
        lines = [answer_in_words(one.explanation), *(f"  {line}" for line in in_words(one.explanation))]
        near = one.explanation.neighbour
        if near is not None:
            lines.append(f"nearest image: {near.name or 'no name'}, {near.path}")
            lines += [f"  {line}" for line in neighbour_in_words(near)]
        lines += [f"-> {file}" for file in (one.picture, one.neighbour_picture) if file is not None]
        for line in lines:
            console.print(Text(printable(line, one_line=True)), soft_wrap=True)
