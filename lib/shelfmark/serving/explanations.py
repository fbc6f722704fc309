"""Why the answers of a request are what they are: of a checkpoint alone. Legend: H, W pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.runtime.explainer import Explainer
from shelfmark.serving.models import CheckpointModel, Model
from shelfmark.serving.refusals import Refused

_BESIDE = ("id", "answer", "candidates", "neighbour")


def require_explaining(model: Model) -> None:
    """Raises `Refused` where the model has no gradients and no map to explain by."""
    if not isinstance(model, CheckpointModel):
        raise Refused(
            404,
            "no_explanation",
            "An exported model gives neither gradients nor the map of positions. Start the service with --RESUME_MODEL"
            " to get explanations.",
        )


def with_explanations(
    model: Model, pictures: Sequence[np.ndarray], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each answer with `explanation`: its first candidate against its second. Boxes are in pixels of the input.

    pictures: (H, W, 3) uint8, resized and cropped as the model's input. Call it in the thread that uses the model.
    """
    require_explaining(model)
    assert isinstance(model, CheckpointModel)
    explainer = Explainer(model.trained)
    return [{**answer, "explanation": _of(explainer, pixels, answer)} for pixels, answer in zip(pictures, answers)]


def _of(explainer: Explainer, pixels: np.ndarray, answer: Mapping[str, Any]) -> dict[str, Any]:
    first, second = [*(one["class"] for one in answer["candidates"][:2]), None, None][:2]
    try:
        found = explainer.explain_input(pixels, answer=first, next_product=second)
    except UserError as error:
        raise Refused(404, "no_explanation", str(error)) from None
    found_json = found.as_json()
    told = {name: value for name, value in found_json.items() if name not in _BESIDE}
    return {**told, "classes": [one["class"] for one in found_json["candidates"]], "input_px": list(pixels.shape[:2])}
