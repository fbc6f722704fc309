"""Where the statements of a package are, and the file with one of them broken.

A mutant is kept by the texts of its statement, not by a line, so that it is found after files moved and names changed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mutant_kinds import COMPOUND, SIMPLE, is_told, text_of, without_body

SAME, MOVED, RENAMED = "same place", "moved", "renamed"


@dataclass(frozen=True)
class Place:
    """A statement in a function. module: its path below the package. function: its name, as in `Class.method.inner`.

    occurrence: how many statements of the same text the function has before it. lines: those of the statement, of a
    compound one those of its head. function_lines: those of the function's body.
    """

    module: str
    function: str
    text: str
    occurrence: int
    statement: ast.stmt
    lines: range
    function_lines: range

    @property
    def room(self) -> str:
        """The subpackage."""
        return PurePosixPath(self.module).parts[0]


@dataclass(frozen=True)
class Found:
    """how: SAME, MOVED or RENAMED. after: the text to put there."""

    place: Place
    how: str
    after: str


class Places:
    """All statements of functions of a package."""

    def __init__(self, package: Path) -> None:
        self.all = [
            place
            for file in sorted(package.rglob("*.py"))
            for place in places_of(file.read_text(encoding="utf-8"), file.relative_to(package).as_posix())
        ]
        self._by_text: dict[str, list[Place]] = defaultdict(list)
        for place in self.all:
            self._by_text[place.text].append(place)

    def find(self, mutant: Mapping[str, Any]) -> Found | None:
        """The mutant's statement, else that of its entry `now`; None where neither is there, or in several functions.

        First in the same function of the same module, then in one of the same name, then in any.
        """
        for kept in (mutant, mutant.get("now")):
            if kept and (found := self._find(kept)):
                return found
        return None

    def _find(self, kept: Mapping[str, Any]) -> Found | None:
        file, name = PurePosixPath(kept["module"]).name, kept["function"].rsplit(".", 1)[-1]
        candidates = self._by_text[kept["before"]]
        for how, group in (
            (SAME, [one for one in candidates if (one.module, one.function) == (kept["module"], kept["function"])]),
            (MOVED, [one for one in candidates if one.function == kept["function"] and one.module.endswith(file)]),
            (MOVED, [one for one in candidates if one.function == kept["function"]]),
            (RENAMED, [one for one in candidates if one.function.rsplit(".", 1)[-1] == name]),
            (RENAMED, [one for one in candidates if one.module.endswith(file)]),
            (RENAMED, candidates),
        ):
            if len({(one.module, one.function) for one in group}) > 1:
                return None
            if group:
                nth = min(kept.get("occurrence", 0), len(group) - 1)
                return Found(group[nth], how, kept["after"])
        return None


def places_of(source: str, module: str) -> Iterator[Place]:
    for function, node in _functions(ast.parse(source), ""):
        seen: dict[str, int] = defaultdict(int)
        assert node.end_lineno is not None
        for statement in _statements(node.body):
            if not isinstance(statement, SIMPLE + COMPOUND) or _is_left_out(statement):
                continue
            text = text_of(statement)
            lines = range(statement.lineno, _end_line(statement) + 1)
            whole = range(node.body[0].lineno, node.end_lineno + 1)
            yield Place(module, function, text, seen[text], statement, lines, whole)
            seen[text] += 1


def broken(source: str, statement: ast.stmt, after: str) -> str:
    """The file with the text `after` for the statement. Nothing else changes."""
    lines = source.encode().splitlines(keepends=True)
    first = statement.lineno - 1
    before = lines[first][: statement.col_offset]
    if isinstance(statement, COMPOUND):
        rest = lines[_end_line(statement) :]
        head = after.rsplit("\n", 1)[0]
        if lines[first][statement.col_offset :].startswith(b"elif"):
            head = f"el{head}"
        new = [before, head.encode(), b"\n", *rest]
    else:
        assert statement.end_lineno is not None
        new = [before, after.encode(), lines[statement.end_lineno - 1][statement.end_col_offset :]]
        new += lines[statement.end_lineno :]
    text = b"".join([*lines[:first], *new]).decode()
    ast.parse(text)
    return text


def _functions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}{child.name}", child
        inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        # None is inside an expression.
        if not isinstance(child, ast.expr):
            yield from _functions(child, f"{name}{child.name}." if inner else name)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """In order, without those of functions and classes inside."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, []))
        for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            yield from _statements(part.body)


def _is_left_out(statement: ast.stmt) -> bool:
    """A docstring, a log line, or a body on the line of its head."""
    value = getattr(statement, "value", None)
    if isinstance(statement, ast.Expr) and (isinstance(value, ast.Constant) or is_told(statement.value)):
        return True
    return isinstance(statement, COMPOUND) and statement.body[0].lineno <= head_end(statement)


def head_end(statement: ast.stmt) -> int:
    """The last line of what stands before the colon of a compound statement."""
    parts = [
        part for part in ast.walk(without_body(statement)) if isinstance(part, ast.expr) and hasattr(part, "end_lineno")
    ]
    return max((part.end_lineno or 0 for part in parts), default=statement.lineno)


def _end_line(statement: ast.stmt) -> int:
    if not isinstance(statement, COMPOUND):
        assert statement.end_lineno is not None
        return statement.end_lineno
    first = statement.body[0]
    decorators = getattr(first, "decorator_list", [])
    return min([first.lineno, *(one.lineno for one in decorators)]) - 1
