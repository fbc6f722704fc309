"""The files of the page, which the package brings."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}


def page_files(folder: Path = _FOLDER) -> dict[str, tuple[bytes, str]]:
    """Path -> (content, type) of those that are there."""
    found = {path: (folder / name, kind) for path, (name, kind) in _FILES.items()}
    return {path: (file.read_bytes(), kind) for path, (file, kind) in found.items() if file.is_file()}
