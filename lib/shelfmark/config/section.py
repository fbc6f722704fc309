"""The sections of the config tree: frozen groups of options with descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class OneOf:
    """Annotates a str option whose values are the names of a table: `Annotated[str, OneOf(SAMPLERS)]`."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return handler.generate_schema(Literal[self.names])


def option(default: Any, description: str, **limits: Any) -> Any:
    """A field. description: what an editor shows. limits: pydantic's, as gt=0."""
    return Field(default=default, description=description, **limits)


class Section(BaseModel):
    """A group of options: unknown ones are errors, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The values that were set, not yet checked, and those defaults that depend on them; here there are none."""
        return values
