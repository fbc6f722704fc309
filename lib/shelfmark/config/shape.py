"""The allowed content of each place of a config tree, read from its JSON schema.

The schema is pydantic's; reading it rather than Python annotations treats models, dataclasses and unions alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

_NOUNS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "of at least",
    "exclusiveMaximum": "below",
    "maximum": "of at most",
}


@dataclass(frozen=True)
class Shape:
    """One place of the tree. schema: its JSON schema without `$ref`; root: the whole, for the references in it."""

    schema: Mapping[str, Any]
    root: Mapping[str, Any]

    @classmethod
    @cache
    def of(cls, model: type[BaseModel]) -> Shape:
        """The top of a tree. Made once: pydantic takes longer for a recipe's schema than for the recipe."""
        root = model.model_json_schema()
        return cls(root, root)

    def keys(self, value: Any = None) -> list[str]:
        """The keys that a group here may have; `value` tells the members of a union apart."""
        return list(self.member(value).schema.get("properties", {}))

    def child(self, part: str | int, value: Any = None) -> Shape | None:
        """The place one step down from a group or list that holds `value`; None where there is none."""
        schema = self.member(value).schema
        if "anyOf" in schema:
            return next(filter(None, (self._at(one).child(part, value) for one in schema["anyOf"])), None)
        if part in schema.get("properties", {}):
            return self._at(schema["properties"][part])
        if isinstance(schema.get("additionalProperties"), dict):
            return self._at(schema["additionalProperties"])
        if str(part).isdecimal() and int(part) < len(schema.get("prefixItems", ())):
            return self._at(schema["prefixItems"][int(part)])
        return self._at(schema["items"]) if "items" in schema and str(part).isdecimal() else None

    def with_defaults(self, value: Any) -> Any:
        """`value`, with the keys that its groups lack at their defaults; all in JSON's types."""
        if isinstance(value, list):
            return [child.with_defaults(one) if (child := self.child(i)) else one for i, one in enumerate(value)]
        if not isinstance(value, dict):
            return value
        options = self.member(value).schema.get("properties", {})
        unset = {key: option["default"] for key, option in options.items() if "default" in option}
        below = {key: (self.child(key, value), one) for key, one in value.items()}
        return {**unset, **{key: child.with_defaults(one) if child else one for key, (child, one) in below.items()}}

    def member(self, value: Any) -> Shape:
        """The union's member that `value` names, or the place itself where there is no union."""
        if not self.tag:
            return self
        name = value.get(self.tag) if isinstance(value, dict) else None
        reference = self._tags().get(name) if isinstance(name, str) else None
        return self._at({"$ref": reference}) if reference else self

    @property
    def tag(self) -> str:
        """The key that tells the members of a union apart (`name`), or ''."""
        return self.schema.get("discriminator", {}).get("propertyName", "")

    @property
    def choices(self) -> list[Any]:
        """All allowed values, where there is a list of them."""
        if self.tag:
            return list(self._tags())
        if "enum" in self.schema:
            return list(self.schema["enum"])
        return [self.schema["const"]] if "const" in self.schema else []

    @property
    def is_list(self) -> bool:
        return any(one.get("type") == "array" for one in self.schema.get("anyOf", [self.schema]))

    @property
    def entry(self) -> Shape | None:
        """The shape of each entry of a list, or of a mapping whose names are free; None for anything else."""
        for one in self.schema.get("anyOf", [self.schema]):
            inside = one.get("items", one.get("additionalProperties"))
            if isinstance(inside, dict):
                return self._at(inside)
        return None

    @property
    def default(self) -> Any:
        """The default in JSON's types, None where there is none."""
        return self.schema.get("default")

    @property
    def description(self) -> str:
        return self.schema.get("description", "")

    def expected(self) -> str:
        """The allowed value here, in words: `a whole number above 0`, `one of: sgd, adam`."""
        words = self._words()
        return f"{words}, or null" if self.schema.get("nullable") else words

    def below(self, prefix: str = "") -> Iterator[tuple[str, Shape]]:
        """Every dotted key of the groups from here down, with its place."""
        for key in self.schema.get("properties", {}):
            shape = self._at(self.schema["properties"][key])
            yield prefix + key, shape
            yield from shape.below(f"{prefix}{key}.")

    def _at(self, schema: Mapping[str, Any]) -> Shape:
        """Follows references and takes `X | None` for X; keeps the default and description that stand beside them."""
        schema = dict(schema)
        while True:
            others = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
            if "$ref" in schema:
                target = self.root["$defs"][schema.pop("$ref").rpartition("/")[2]]
                schema = {**target, **schema}
            elif len(others) == 1:
                del schema["anyOf"]
                schema = {**others[0], **schema, "nullable": True}
            else:
                return Shape(schema, self.root)

    def _tags(self) -> Mapping[str, str]:
        return self.schema["discriminator"]["mapping"]

    def _words(self) -> str:
        if self.tag:
            return f"a group of keys with `{self.tag}`, one of: {', '.join(self.choices)}"
        if "const" in self.schema:
            return str(self.schema["const"])
        if self.choices:
            return f"one of: {', '.join(str(choice) or repr(choice) for choice in self.choices)}"
        if "anyOf" in self.schema:
            words = [self._at(one).expected() for one in self.schema["anyOf"]]
            is_word = "const" in self.schema["anyOf"][-1]
            return f"{' or '.join(words[:-1])}{',' if is_word else ''} or {words[-1]}"
        kind = self.schema.get("type", "")
        if kind == "array":
            return self._list_words()
        if kind == "object":
            return "a group of keys"
        return self._scalar_words(kind)

    def _list_words(self) -> str:
        parts = {self._at(one).expected() for one in self.schema.get("prefixItems", ())}
        if parts:
            each = f", each entry {parts.pop()}" if len(parts) == 1 else ""
            return f"a list of {len(self.schema['prefixItems'])}{each}"
        least = self.schema.get("minItems", 0)
        entry = self._at(self.schema["items"]).expected() if "items" in self.schema else ""
        return "a list" + (f" of at least {least}" if least else "") + (f", each entry {entry}" if entry else "")

    def _scalar_words(self, kind: str) -> str:
        if kind == "string":
            noun = "a path" if self.schema.get("format", "").endswith("path") else "text"
            pattern = self.schema.get("pattern")
            return f"{noun} of the form {pattern}" if pattern else noun
        noun = _NOUNS.get(kind, "a value of another type")
        return " ".join(["" if kind in ("boolean", "null") else "a", noun, self._bounds()]).strip()

    def _bounds(self) -> str:
        limits = {name: _number(self.schema[name]) for name in _BOUNDS if name in self.schema}
        if {"minimum", "maximum"} == limits.keys():
            return f"from {limits['minimum']} to {limits['maximum']}"
        if "exclusiveMinimum" in limits:
            # A type's own bound, below the option's.
            limits.pop("minimum", None)
        return " and ".join(f"{_BOUNDS[name]} {limit}" for name, limit in limits.items())


def _number(value: float) -> str:
    return f"{value:g}" if value != int(value) or abs(value) < 1e6 else str(int(value))
