"""The files of the page, which the package brings."""

from __future__ import annotations

from pathlib import Path

from shelfmark.serving.page import PAGE, PAGE_FILES


def page_files(folder: Path = PAGE) -> dict[str, tuple[bytes, str]]:
    """Path -> (content, type) of those that are there."""
    found = {_address(name): (folder / name, kind) for name, kind in PAGE_FILES.items()}
    return {path: (file.read_bytes(), kind) for path, (file, kind) in found.items() if file.is_file()}


def _address(name: str) -> str:
    return "/" if name == "index.html" else f"/{name}"
