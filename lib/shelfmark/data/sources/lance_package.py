"""The package lance, imported where a Lance dataset is read or written: it is optional."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

from shelfmark.core.errors import UserError

_SOURCE_PLACES = re.compile(r",? *(?:[\w.~/-]*/)?[\w-]+\.rs:\d+(?::\d+)?")


def lance_for(what: str) -> ModuleType:
    """The package lance. It has threads of its own, so no process is forked from one that uses it.

    what: that needs it, for the error. UserError: it is not installed.
    """
    if importlib.util.find_spec("lance") is None:
        raise UserError(f"{what} needs the package lance: pip install -e '.[lance]', elsewhere pip install pylance.")
    import lance

    return lance


def lance_told(error: Exception) -> str:
    """What lance says of an error, in one line, without the places in its own source code."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return _SOURCE_PLACES.sub("", line)[:300].rstrip(" .,:")
