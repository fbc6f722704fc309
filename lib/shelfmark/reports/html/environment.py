"""Templates to text. The one file that knows Jinja2."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from shelfmark.core.text_safety import printable

_TEMPLATES = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> str:
    """The text of a template. Every value is escaped, unless it is `safe_markup`."""
    return str(_environment().get_template(template).render(**values))


def safe_markup(html: str) -> Any:
    """HTML of our own making, which templates take as it is."""
    from markupsafe import Markup

    return Markup(html)


def file_text(name: str) -> str:
    """A file beside the templates, such as the style of all pages."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """A name cannot turn the direction of what follows it, and no browser has halves of surrogate pairs."""
    return printable(value) if type(value) is str else value
