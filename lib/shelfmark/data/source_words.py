"""The words of `data.source`. They are known before anything is opened, and without numpy."""

from __future__ import annotations

from pathlib import Path

FILES = "files"
PACKED = "packed:"


def require_source(word: str) -> None:
    """Raises a ValueError unless the word is one that `data.sources.named` opens."""
    if word != FILES and (not word.startswith(PACKED) or word == PACKED):
        raise ValueError(
            f"{word!r} names no source of images; give {FILES}, or {PACKED}DIR for a copy that `shelfmark shrink` made"
        )


def packed_folder(word: str) -> Path | None:
    """The folder of `packed:DIR`; None of another word."""
    return Path(word.removeprefix(PACKED)) if word.startswith(PACKED) else None


def reads_files(word: str) -> bool:
    """Whether each picture is read in its own file, which must be there then."""
    return word == FILES
