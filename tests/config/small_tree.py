"""A small config tree with one of everything: sections, choices, bounds, lists, named groups, a union."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


@dataclass(frozen=True, kw_only=True)
class Plain:
    __pydantic_config__: ClassVar = {"extra": "forbid"}
    name: Literal["plain"] = "plain"
    head: str = "classifier"
    weight: float = 1.0
    smoothing: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Ranked:
    __pydantic_config__: ClassVar = {"extra": "forbid"}
    name: Literal["ranked"] = "ranked"
    head: str
    weight: float = 1.0
    temperature: float = 0.01

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature} must be above 0")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Head(Section):
    dim: int = Field(0, ge=0)


class Data(Section):
    root: Path = Path("dataset/shop")
    test_root: Path | None = None
    more_roots: tuple[Path, ...] = ()
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    use: Literal["", "shop"] = ""


class Steps(Section):
    milestones: tuple[float, ...] = ()
    factor: float | tuple[float, ...] = 0.1
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Steps:
        if self.low > self.high:
            raise ValueError(f"low={self.low} must not exceed high={self.high}")
        return self


class Optim(Section):
    name: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.1, gt=0, description="learning rate of everything")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    steps: Steps = Steps()


class Train(Section):
    num_epochs: int = Field(10, gt=0)
    batch_size: int = Field(64, gt=0)


class Eval(Section):
    batch_size: int = Field(256, gt=0)


class Tree(Section):
    name: str = Field("run", pattern=r"^[a-z0-9_]+$")
    data: Data = Data()
    heads: dict[str, Head] = {}
    losses: tuple[Annotated[Plain | Ranked, Field(discriminator="name")], ...] = Field((Plain(),), min_length=1)
    optim: Optim = Optim()
    train: Train = Train()
    eval: Eval = Eval()

    @model_validator(mode="after")
    def _heads_exist(self) -> Tree:
        for index, loss in enumerate(self.losses):
            if loss.head not in {"classifier", *self.heads}:
                raise ValueError(f"losses.{index}.head={loss.head!r} is not a head of the model")
        return self
