"""What every part of the config tree is made of: frozen sections of options that describe themselves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def option(default: Any, description: str, **limits: Any) -> Any:
    """A field. description: what an editor shows. limits: pydantic's, as gt=0."""
    return Field(default=default, description=description, **limits)


class Section(BaseModel):
    """A group of options: unknown ones are errors, and none changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
