"""The model that the vectors of an index come from. Queries must be embedded by the same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfmark.config.overrides import Override
from shelfmark.core.artefact import Difference, differences, flat
from shelfmark.core.errors import UserError
from shelfmark.core.log import warn
from shelfmark.recipe import Recipe
from shelfmark.recipe.forward import forward_options
from shelfmark.retrieval.index_files import read_manifest
from shelfmark.runtime.model_hashes import CHECKPOINT, same_embedding
from shelfmark.runtime.trained_model import TrainedModel, open_model


def open_model_of_index(
    folder: Path, checkpoint: Path | None = None, overrides: Sequence[Override] = ()
) -> tuple[TrainedModel, dict[str, Any]]:
    """The model that the index was built with, and the facts of the index.

    checkpoint: the present place of the model, if it was moved. UserError: `checkpoint` is another model, or the
    overrides change its embeddings.
    """
    facts = read_manifest(folder)["facts"]
    model = open_model(_checkpoint(folder, facts, checkpoint), overrides)
    require_same_model(folder, facts, model)
    return model, facts


def checkpoint_of_index(folder: Path, given: Path | None = None) -> Path:
    """`given`, else the place of the model when the index was built; a UserError if it is gone."""
    return given or _checkpoint(folder, read_manifest(folder)["facts"])


def _checkpoint(folder: Path, facts: Mapping[str, Any], given: Path | None = None) -> Path:
    path = given or Path(facts["checkpoint"])
    if given is None and not path.exists():
        raise UserError(f"{folder} was built with {path}, which is gone; say where it is now with --RESUME_MODEL.")
    return path


def require_same_model(folder: Path, facts: Mapping[str, Any], model: TrainedModel) -> None:
    """Raises a UserError unless the model's embeddings can be compared with those in the index."""
    if not same_embedding(facts, model.hashes.facts):
        ours, theirs = model.checkpoint.weights_hash, facts[CHECKPOINT]
        raise UserError(
            f"{folder} was built with another checkpoint, {facts['checkpoint']} ({theirs[:12]}), than"
            f" {model.checkpoint.folder} ({ours[:12]}). Vectors of two models cannot be compared: take that"
            " checkpoint, or build an index with this one by `shelfmark index build`."
        )
    now = forward_options(model.recipe)
    if "options" in facts:
        changed = differences(facts["options"], now, defaults=forward_options(Recipe()))
    else:
        changed = _of_earlier_version(folder, flat({"data": facts["input"]}), now)
    if changed:
        told = ", ".join(f"{one.name}={one.before} (now {one.now})" for one in changed)
        raise UserError(
            f"{folder} was built with {told}. Pictures must be embedded as those in the index were: leave these options"
            " out, or build an index with them."
        )


def _of_earlier_version(folder: Path, known: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """The differences in the options that an index of version 0.1.0 noted; warns about the options that it did not."""
    others = ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in now if name not in known))
    warn(
        f"{folder} was built by an earlier version, which did not record {others}. So it cannot be checked whether"
        " they are the same now; a new index records them"
    )
    return differences(known, {name: now.get(name) for name in known})


def index_facts(model: TrainedModel) -> dict[str, Any]:
    """The facts that an index keeps about the model of its vectors."""
    return {
        "checkpoint": str(model.checkpoint.folder.resolve()),
        **model.hashes.facts,
        "options": forward_options(model.recipe),
    }
