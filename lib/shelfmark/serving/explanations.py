"""Why the answers of a request are what they are: of a checkpoint alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shelfmark.core.errors import UserError
from shelfmark.runtime.explainer import Explainer
from shelfmark.serving.decoders import Decoded
from shelfmark.serving.models import CheckpointModel, Model
from shelfmark.serving.refusals import Refused

_BESIDE = ("id", "answer", "candidates", "neighbour")


def can_explain(model: Model) -> bool:
    """Whether the model is a checkpoint: an export has neither gradients nor the map."""
    return isinstance(model, CheckpointModel)


def require_explaining(model: Model) -> None:
    """Raises `Refused` where `can_explain` does not hold."""
    if not can_explain(model):
        raise Refused(
            404,
            "no_explanation",
            "An exported model gives neither gradients nor the map of positions. Start the service with --RESUME_MODEL"
            " to get explanations.",
        )


def with_explanations(
    model: Model, pictures: Sequence[Decoded], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each answer with `explanation`: its first candidate against its second. Boxes are in pixels of the upright
    picture, of which `picture_px` gives (height, width).

    Call it in the thread that uses the model.
    """
    require_explaining(model)
    assert isinstance(model, CheckpointModel)
    explainer = Explainer(model.trained)
    return [{**answer, "explanation": _of(explainer, picture, answer)} for picture, answer in zip(pictures, answers)]


def _of(explainer: Explainer, picture: Decoded, answer: Mapping[str, Any]) -> dict[str, Any]:
    first, second = [*(one["class"] for one in answer["candidates"][:2]), None, None][:2]
    try:
        found = explainer.explain_input(
            picture.pixels, picture.height, picture.width, answer=first, next_product=second
        )
    except UserError as error:
        raise Refused(404, "no_explanation", str(error)) from None
    found_json = found.as_json()
    told = {name: value for name, value in found_json.items() if name not in _BESIDE}
    classes = [one["class"] for one in found_json["candidates"]]
    return {**told, "classes": classes, "picture_px": [picture.height, picture.width]}
