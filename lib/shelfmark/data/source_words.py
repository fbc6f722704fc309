"""The words of `data.source`. They are known before anything is opened, and without numpy."""

from __future__ import annotations

from pathlib import Path

from shelfmark.core.errors import UserError

FILES = "files"
PACKED = "packed:"
LANCE = "lance://"


def require_source(word: str) -> None:
    """Raises a ValueError unless the word is one that `data.sources.named` opens."""
    names_place = any(word.startswith(one) and word != one for one in (PACKED, LANCE))
    if word != FILES and not names_place:
        raise ValueError(
            f"{word!r} names no source of images; give {FILES}, {PACKED}DIR for a copy that `shelfmark shrink` made, or"
            f" {LANCE}DIR for a dataset that `shelfmark to-lance` wrote"
        )


def place_alone(text: str) -> str:
    """A value of `--out`. UserError: it begins as a word of `data.source` does."""
    for start in (PACKED, LANCE):
        if text.startswith(start):
            alone = text.removeprefix(start) or "DIR"
            raise UserError(f"--out {text}: only data.source begins with {start}; here give {alone} alone.")
    return text


def packed_folder(word: str) -> Path | None:
    """The folder of `packed:DIR`; None of another word."""
    return Path(word.removeprefix(PACKED)) if word.startswith(PACKED) else None


def lance_uri(word: str) -> str | None:
    """The folder or address of `lance://PLACE`; None of another word."""
    return word.removeprefix(LANCE) if word.startswith(LANCE) else None


def reads_files(word: str) -> bool:
    """Whether each picture is read in its own file, which must be there then."""
    return word == FILES
