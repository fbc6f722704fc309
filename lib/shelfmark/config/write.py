"""A configuration written out: as YAML that runs again, and as a JSON schema for editors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from shelfmark.config.files import BASE
from shelfmark.config.load import Loaded
from shelfmark.config.yaml_lines import scalar
from shelfmark.core.errors import UserError

_HEADER = """\
# The whole configuration of one run; `--config` on this file repeats it.
# Behind a value: the file and line, or the flag, that set it. The others are defaults.
"""
# Words that YAML 1.1 readers take for booleans; quoted, every reader takes them for text.
_WORDS_1_1 = {"y", "n", "yes", "no", "on", "off"}
_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")


def to_yaml(loaded: Loaded[Any]) -> str:
    """The whole configuration as YAML; each value that was set has a comment which says where."""
    return _HEADER + "\n".join(_group(loaded.config.model_dump(), "", "", loaded.origins)) + "\n"


def schema_json(schema: type[BaseModel]) -> str:
    """The JSON schema of a config file, for editors: completion, descriptions and checks while typing."""
    text = {"type": "string"}
    base = {
        "anyOf": [text, {"type": "array", "items": text}],
        "description": "file or files, relative to this one, that this file builds on",
    }
    found = schema.model_json_schema()
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "properties": {BASE: base, **found["properties"]},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def entry_lines(name: str, value: Any, indent: str = "") -> list[str]:
    """The lines of one key and its value, in JSON's types, without comments."""
    return _entry(f"{indent}{_text(name)}:", value, name, f"{indent}  ", {})


def inline(value: Any) -> str:
    """A value as it stands behind its key, on one line."""
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(inline(item) for item in value)}]"
    if value is None:
        return "null"
    if isinstance(value, bool | int):
        return str(value).lower()
    return _number(value) if isinstance(value, float) else _text(str(value) if isinstance(value, Path) else value)


def _group(group: dict[str, Any], key: str, indent: str, origins: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for name, value in group.items():
        lines += _entry(f"{indent}{_text(str(name))}:", value, f"{key}{name}", indent + "  ", origins)
    return lines


def _entry(head: str, value: Any, key: str, indent: str, origins: dict[str, str]) -> list[str]:
    """The lines of one key: its value behind it, or the lines below it."""
    if isinstance(value, dict) and value:
        return [head, *_group(value, f"{key}.", indent, origins)]
    if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        lines = [head]
        for index, item in enumerate(value):
            # The entry's name comes first: the meaning of the other keys depends on it.
            named_first = dict(sorted(item.items(), key=lambda pair: pair[0] != "name"))
            first, *others = _group(named_first, f"{key}.{index}.", f"{indent}  ", origins)
            lines += [f"{indent}- {first.lstrip()}", *others]
        return lines
    origin = " ".join(origins.get(key, "").split())
    return [f"{head} {inline(value)}" + (f"  # {origin}" if origin else "")]


def _number(value: float) -> str:
    """A float that readers of YAML 1.1 and 1.2 both take for a float: `1.0e-05`, `.inf`."""
    digits, e, exponent = repr(value).partition("e")
    if digits.endswith("inf"):
        return digits.replace("inf", ".inf")
    return digits if not e else f"{digits if '.' in digits else digits + '.0'}e{exponent}"


def _text(value: str) -> str:
    """Text bare where every reader takes it for text, else in double quotes."""
    if _PLAIN.fullmatch(value) and _is_text(value) and value.lower() not in _WORDS_1_1:
        return value
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.removesuffix("\n")


def _is_text(value: str) -> bool:
    try:
        return isinstance(scalar(value), str)
    except UserError:  # a number of too many digits
        return False
