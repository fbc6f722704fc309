"""Pickles as data alone: dicts, lists, tuples, sets, text, bytes, numbers and numpy arrays of numbers or text.

A pickle is a program: the plain reader calls whatever function the file names. Here the few names that arrays need
have stand-ins of our own, every other name is refused, and numpy itself never sees what the file says of an array
before it was checked.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from shelfmark.core.errors import UserError

# A file names the modules of its writer: numpy 2 moved its own, Python 3 renamed one.
_FORMER_MODULES = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "__builtin__": "builtins",
}
_NUMBERS_OR_TEXT = re.compile(r"[biufcSU]\d{1,6}")


def read_pickle(stream: BinaryIO, name: str) -> Any:
    """The value that a pickle holds; its arrays are writable.

    name: of the file, for messages. Text that Python 2 wrote is read as Latin-1, one character a byte.
    UserError: the file is damaged, or names anything that is not data.
    """
    try:
        return _plain(_DataUnpickler(stream, name).load(), {})
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{name} is no whole pickle ({error}); copy or download it again.") from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise UserError(f"{name} is no data set's pickle: it is nested or sized beyond reason.") from error


class _DataUnpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, name: str) -> None:
        super().__init__(stream, encoding="latin1")
        self.name = name

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{_FORMER_MODULES.get(module, module)}.{name}"
        if full_name not in _STAND_INS:
            raise UserError(
                f"{self.name} names {module}.{name}, which is not data and could run foreign code; the file is not"
                " read. Only containers, text, numbers and numpy arrays of them are."
            )
        return _STAND_INS[full_name]


@dataclass(frozen=True)
class _Call:
    """The stand-in of a function. It has no __dict__, so that no file can store anything in it."""

    __slots__ = ("function",)
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Type:
    """The stand-in of a numpy dtype, until its byte order is read."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS_OR_TEXT.fullmatch(code):
            raise ValueError(f"an array of {code!r}, which is neither numbers nor text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"a byte order {state[1]!r}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """The stand-in of an array or, with `is_scalar`, of a number. It cannot be a dict's key, because it is replaced."""

    __slots__ = ("array", "is_scalar")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, is_scalar: bool = False) -> None:
        self.array = np.empty(0)
        self.is_scalar = is_scalar

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        self.fill(content, kind, shape, "F" if is_fortran else "C")

    def fill(self, content: Any, kind: Any, shape: Any, order: Any) -> _Array:
        if not isinstance(kind, _Type) or not isinstance(content, str | bytes | bytearray):
            raise ValueError("an array of Python objects")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"an array of shape {shape!r}")
        buffer = bytearray(content, "latin1") if isinstance(content, str) else bytearray(content)
        if len(buffer) != math.prod(shape) * kind.dtype.itemsize:
            raise ValueError(f"an array of shape {shape} and type {kind.dtype} in {len(buffer)} bytes")
        self.array = np.ndarray(shape, kind.dtype, buffer, order="F" if order == "F" else "C")
        return self


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding!r}")
    return text.encode(encoding)


_STAND_INS: dict[str, Any] = {
    "numpy.ndarray": "numpy.ndarray",
    "numpy.dtype": _Call(_Type),
    "numpy._core.multiarray._reconstruct": _Call(lambda *_: _Array()),
    "numpy._core.numeric._frombuffer": _Call(
        lambda content, kind, shape, order: _Array().fill(content, kind, shape, order)
    ),
    "numpy._core.multiarray.scalar": _Call(lambda kind, content: _Array(is_scalar=True).fill(content, kind, (), "C")),
    # Before protocol 4, pickles had no opcodes for bytes and sets.
    "_codecs.encode": _Call(_bytes),
    "builtins.bytes": _Call(lambda: b""),
    "builtins.set": _Call(lambda items: set(items)),
    "builtins.frozenset": _Call(lambda items: frozenset(items)),
}


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """`value` with arrays in place of their stand-ins. done: by id, so that a shared object is visited once."""
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        done[id(value)] = value.array[()] if value.is_scalar else value.array
    elif isinstance(value, list):
        items: list[Any] = []
        done[id(value)] = items
        items.extend(_plain(item, done) for item in value)
    elif isinstance(value, dict):
        entries: dict[Any, Any] = {}
        done[id(value)] = entries
        entries.update((key, _plain(item, done)) for key, item in value.items())
    elif isinstance(value, tuple):
        done[id(value)] = tuple(_plain(item, done) for item in value)
    elif isinstance(value, _Type | _Call):
        raise ValueError("a function or a type where data should be")
    else:
        return value
    return done[id(value)]
