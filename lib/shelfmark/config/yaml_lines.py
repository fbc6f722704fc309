"""YAML 1.2 with the line of every value.

PyYAML reads YAML 1.1, where `no` is false, `12:30` is 750, `010` is 8 and `1e-3` is text. Its parser is used
here, its table of scalars is not: the core schema of YAML 1.2 takes that place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from shelfmark.config.bounds import MAX_DEPTH
from shelfmark.config.nodes import Node
from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import TooLarge, read_regular
from shelfmark.core.text_encoding import NotUtf8, utf8_text

Scalar = str | int | float | bool | None

_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Every unquoted scalar gets the first tag, to tell it from a quoted one and from `!!str 1`.
_UNQUOTED = "!unquoted"
_TAGS = (_UNQUOTED, "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_MAX_DIGITS = 40
"""The most digits of a whole number, more than 64 bits need; Python refuses to read thousands of digits."""
_MAX_BYTES = 256 * 1024
"""The largest file; the parser reads about 100 kilobytes a second."""
_MAX_VALUES = 20_000
"""The most nodes of a document with its aliases written out: ten lines can stand for a billion values."""


def scalar(text: str) -> Scalar:
    """The value of an unquoted scalar in YAML 1.2: null, true or false, a number, else text.

    YAML's `.nan` stays text, so that it is refused as a number: no option can have that value. UserError: a whole
    number of thousands of digits.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > _MAX_DIGITS and (_INTEGER.fullmatch(text) or _BASED.fullmatch(text)):
        raise UserError(f"a number of {len(text):,} digits, {text[:12]}...; one of 64 bits has at most 19.")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def read_file(path: Path, shown: str) -> Node:
    """A file's keys and values; an empty file has none. `shown`: how messages and origins call the file."""
    try:
        text = utf8_text(read_regular(path, _MAX_BYTES))
    except NotUtf8 as error:
        raise UserError(f"{shown}:{error.line}: the file is {error}") from None
    except TooLarge as error:
        raise UserError(f"{shown} has {error.strerror}; is it a config file?") from None
    except OSError as error:
        raise UserError(f"{shown} cannot be read: {error.strerror}.") from None
    tree = parse(text, lambda line: f"{shown}:{line}")
    if tree.value is None:
        return Node({}, shown)
    if not isinstance(tree.value, dict):
        raise UserError(f"{tree.origin}: a config file holds `key: value` lines, not {_form(tree.value)}.")
    return Node(tree.value, shown)


def parse(text: str, origin_at: Callable[[int], str]) -> Node:
    """The nodes of one YAML document. origin_at: line number, from 1, to the origin that its nodes get."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        place = origin_at(text[: error.position].count("\n") + 1)
        raise UserError(f"{place}: not valid YAML: the character U+{error.character:04X} is not allowed.") from None
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax(error, origin_at)) from None
    except _TooDeep:
        place = origin_at(loader.line + 1)
        raise UserError(f"{place}: more than {MAX_DEPTH} lists and groups within each other.") from None
    except (ValueError, OverflowError) as error:  # an escape such as "\U00110000", or a version of many digits
        raise UserError(f"{origin_at(loader.line + 1)}: not valid YAML: {error}.") from None
    return Node(None, origin_at(1)) if root is None else _Converter(origin_at).node(root, root.start_mark.line + 1)


class _TooDeep(Exception):  # noqa: N818
    pass


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {None: [(_UNQUOTED, re.compile(""))]}  # noqa: RUF012  PyYAML's own form
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth > MAX_DEPTH:
            raise _TooDeep
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _form(value: object) -> str:
    return "a list" if isinstance(value, list) else "a single value"


def _syntax(error: yaml.MarkedYAMLError, origin_at: Callable[[int], str]) -> str:
    mark = error.problem_mark or error.context_mark
    place = origin_at(mark.line + 1 if mark else 1)
    column = f", column {mark.column + 1}" if mark else ""
    hint = " Indent with spaces." if "\\t" in (error.problem or "") else ""
    return f"{place}{column}: not valid YAML: {error.problem or error.context}.{hint}"


class _Converter:
    """PyYAML's nodes into ours."""

    def __init__(self, origin_at: Callable[[int], str]) -> None:
        self.origin_at = origin_at
        self._above: list[yaml.Node] = []
        self._num_values = 0
        self._top_line = 1

    def node(self, raw: yaml.Node, line: int) -> Node:
        """One node; `line` is its key's, which for a block below the key is not where the value begins."""
        self._num_values += 1
        if self._num_values > _MAX_VALUES:
            raise UserError(
                f"{self.origin_at(self._top_line)}: more than {_MAX_VALUES:,} values, where each alias (`*name`) counts"
                " as what it stands for."
            )
        if raw in self._above:
            raise UserError(f"{self.origin_at(line)}: an alias (`*name`) stands within its own anchor.")
        if raw.tag not in _TAGS:
            tag = raw.tag.replace("tag:yaml.org,2002:", "!!")
            raise UserError(f"{self.origin_at(line)}: the tag {tag} is not used here; write the plain value.")
        self._above.append(raw)
        if isinstance(raw, yaml.MappingNode):
            value: object = self._mapping(raw)
        elif isinstance(raw, yaml.SequenceNode):
            value = [self.node(item, item.start_mark.line + 1) for item in raw.value]
        else:
            value = self._scalar(raw, line) if raw.tag == _UNQUOTED else raw.value
        self._above.pop()
        return Node(value, self.origin_at(line))

    def _scalar(self, raw: yaml.Node, line: int) -> Scalar:
        try:
            return scalar(raw.value)
        except UserError as error:
            raise UserError(f"{self.origin_at(line)}: {error}") from None

    def _mapping(self, raw: yaml.MappingNode) -> dict[str, Node]:
        found: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in raw.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UserError(f"{self.origin_at(line)}: a key must be a single word.")
            key = key_node.value
            if key == "<<":
                raise UserError(f"{self.origin_at(line)}: `<<` is not in YAML 1.2; use `_base_:` to build on a file.")
            if key in found:
                raise UserError(
                    f"{self.origin_at(line)}: the key {key!r} stands twice in one group; first in line {lines[key]}."
                )
            lines[key] = line
            self._top_line = line if len(self._above) == 1 else self._top_line
            found[key] = self.node(value_node, line)
        return found
