"""The page of the service: one document, one script, one style sheet."""

from __future__ import annotations

from pathlib import Path

# The folder of index.html, page.js and page.css.
PAGE = Path(__file__).parent
