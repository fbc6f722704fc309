"""pyarrow, imported where Parquet is read or written: the package is optional."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from shelfmark.core.errors import UserError


def has_pyarrow() -> bool:
    """Whether pyarrow can be imported, without importing it."""
    return importlib.util.find_spec("pyarrow") is not None


def pyarrow_for(what: str, otherwise: str = "") -> ModuleType:
    """pyarrow, with its `parquet`, `compute` and `types`. UserError: it is not installed.

    what: that needs it, for the error. otherwise: what does without it.
    """
    if not has_pyarrow():
        raise UserError(f"{what} needs pyarrow: pip install pyarrow. {otherwise}".rstrip())
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet
    import pyarrow.types

    return pyarrow
