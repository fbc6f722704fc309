"""The files of the page, which the package brings."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
_FIRST = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files(folder: Path = _FOLDER) -> dict[str, tuple[bytes, str]]:
    """Address -> (content, media type). index.html is at `/`."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in _TYPES] if folder.is_dir() else []
    return {f"/{'' if file.name == _FIRST else file.name}": (file.read_bytes(), _TYPES[file.suffix]) for file in files}
