"""The options that change an embedding: the key of stored features and of an index.

These are all options of `model` and `data`, except those named here. If a new option is forgotten here, features are
computed anew once too often, but features of another network are never used by mistake.
"""

from __future__ import annotations

from typing import Any

from shelfmark.config.keys import is_within
from shelfmark.core.artefact import flat
from shelfmark.recipe.tree import Recipe

_OF_TRAINING = "how the weights learn; the key has the weights themselves"
_BEHIND = "it comes behind the embedding"
_WHICH_PICTURES = "which images there are; the key has their paths"
_LABELS = "labels, which come from the annotations at hand"

SHAPES_NO_EMBEDDING = {
    "model.weights": "first weights; the key has the weights themselves",
    "model.classifier": _BEHIND,
    "model.heads": _BEHIND,
    "model.freeze": _OF_TRAINING,
    "model.freeze_bn": _OF_TRAINING,
    "model.freeze_bn_affine": _OF_TRAINING,
    "model.sync_bn": _OF_TRAINING,
    "model.grad_checkpointing": _OF_TRAINING,
    "data.generated": _WHICH_PICTURES,
    "data.root": "the key has the root of the images themselves",
    "data.test_root": "the key has the root of the images themselves",
    "data.extra_roots": _WHICH_PICTURES,
    "data.source": "where the images are read; the key has what their content is known by",
    "data.train_json": _WHICH_PICTURES,
    "data.more_train_json": _WHICH_PICTURES,
    "data.val_json": _WHICH_PICTURES,
    "data.test_json": _WHICH_PICTURES,
    "data.retrieval_json": _WHICH_PICTURES,
    "data.lists": _WHICH_PICTURES,
    "data.open_set_classes": _WHICH_PICTURES,
    "data.num_classes": _LABELS,
    "data.num_workers": "how fast images are read",
    "data.on_bad_image": "whether an image may be missing; that is asked of the images that are there",
    "data.max_bad_images": "how many images may be missing; likewise",
    "data.pipeline": "how training images are read; in evaluation nothing changes",
    "data.color_jitter_on": "where training images are changed",
    "data.check_images": "when unreadable images are found",
}
"""Options, or groups of them, that change no embedding, and why."""


def forward_options(recipe: Recipe) -> dict[str, Any]:
    """Every option that changes an embedding, by dotted name, in JSON's types."""
    options = flat({name: getattr(recipe, name).model_dump(mode="json") for name in ("model", "data")})
    return {name: value for name, value in options.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    return any(is_within(name, key) for key in SHAPES_NO_EMBEDDING)
