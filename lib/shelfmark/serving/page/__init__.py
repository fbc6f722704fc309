"""The page of the service: one document, two scripts, one style sheet and an icon."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent

# Each file of the page, at the address by which index.html asks for it, and its media type.
PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "why.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
