"""Why a picture got its answer, as values: what the command, the service and the report show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from shelfmark.data.input_window import Box
from shelfmark.explain import METHODS
from shelfmark.predictions.answers import answered, candidate, unanswered


@dataclass(frozen=True)
class NamedProduct:
    """A class of the model. probability: of the classifier's softmax."""

    label: int
    name: str
    probability: float
    logit: float

    @property
    def title(self) -> str:
        return self.name or f"class {self.label}"


@dataclass(frozen=True)
class NamedRegion:
    """where: in words. box: pixels of the upright picture. share: of all in the picture that speaks for the same.

    cells: the cells of the map that it is made of, in the same pixels.
    """

    where: str
    box: Box
    share: float
    cells: tuple[Box, ...]

    def as_json(self) -> dict[str, Any]:
        return {"where": self.where, "box": self.box.as_json(), "share": self.share}


@dataclass(frozen=True)
class Tip:
    """What would tip the answer: the region that tells it apart from the next product, and both probabilities once that
    region is blurred. best: the answer then."""

    region: NamedRegion
    probability: float
    next_probability: float
    best: NamedProduct

    def as_json(self, next_product: NamedProduct) -> dict[str, Any]:
        return {
            "class": next_product.label,
            "name": next_product.name or None,
            **self.region.as_json(),
            "score_when_blurred": self.probability,
            "next_score_when_blurred": self.next_probability,
            "answer_when_blurred": {"class": self.best.label, "name": self.best.name or None},
        }


@dataclass(frozen=True)
class MatchedPair:
    """Patches of the picture and of its neighbour, each the other's nearest; boxes in pixels of each picture."""

    box: Box
    neighbour_box: Box
    cosine: float
    share: float

    def as_json(self) -> dict[str, Any]:
        return {
            "box": self.box.as_json(),
            "neighbour_box": self.neighbour_box.as_json(),
            "cosine": self.cosine,
            "share": self.share,
        }


@dataclass(frozen=True, eq=False)
class MatchedNeighbour:
    """An image of the index. pixels: (H, W, 3) uint8 upright; None with `error`, why it could not be read.

    num_pairs: of all mutual pairs; `pairs` has the foremost.
    """

    id: str
    label: int
    name: str
    score: float
    path: str
    pixels: np.ndarray | None = None
    pairs: tuple[MatchedPair, ...] = ()
    num_pairs: int = 0
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "class": None if self.label < 0 else self.label,
            "name": self.name or None,
            "score": self.score,
            "path": self.path,
            "num_pairs": self.num_pairs,
            "pairs": [pair.as_json() for pair in self.pairs],
            "error": self.error,
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """error: why the photograph could not be read; the other fields are then empty.

    pixels: (H, W, 3) uint8, upright. heat: (H, W) of them, what speaks for the answer and against the next product; NaN
    where the network did not look. method: one of `explain.METHODS`; empty where the answer is no class of the model,
    which then explains nothing but the neighbour. difference: of the two logits, of which `constant` is in no region.
    next_product: None for a model of one class. against: what speaks for the next product.
    """

    photo: str
    error: str | None = None
    pixels: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 3), np.uint8))
    heat: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    method: str = ""
    answer: NamedProduct | None = None
    next_product: NamedProduct | None = None
    difference: float = 0.0
    constant: float = 0.0
    regions: tuple[NamedRegion, ...] = ()
    against: tuple[NamedRegion, ...] = ()
    tip: Tip | None = None
    neighbour: MatchedNeighbour | None = None

    @property
    def is_exact(self) -> bool:
        return self.method == "exact"

    @property
    def method_in_words(self) -> str:
        return METHODS.get(self.method, "the classifier does not know this product")

    def as_json(self) -> dict[str, Any]:
        """In the form of `predictions.answers`, with what explains the answer behind the candidates."""
        if self.error is not None:
            return unanswered(self.photo, self.error)
        products = [one for one in (self.answer, self.next_product) if one is not None]
        found = [candidate(one.label, one.name, one.probability, logit=one.logit) for one in products]
        tip = None if self.tip is None or self.next_product is None else self.tip.as_json(self.next_product)
        return {
            **answered(self.photo, found),
            "method": self.method or None,
            "is_exact": self.is_exact,
            "difference": self.difference,
            "constant": self.constant if self.is_exact else None,
            "regions": [region.as_json() for region in self.regions],
            "against": [region.as_json() for region in self.against],
            "tip": tip,
            "neighbour": None if self.neighbour is None else self.neighbour.as_json(),
        }
