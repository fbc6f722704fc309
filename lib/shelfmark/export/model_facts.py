"""What model.json says of a model. Legend: C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shelfmark import __version__
from shelfmark.data.options import DataOptions
from shelfmark.data.resizing import LARGEST_ASPECT

FORMAT = 1


@dataclass(frozen=True)
class ModelFacts:
    """outputs: name -> numbers a picture. class_names: (C,) or None. groups: class -> family, or None.

    hashes: checkpoint_sha256 and embedding_sha256. index, thresholds: what is known of an index, and the content of its
    thresholds.json; or None.
    """

    name: str
    file: str
    precision: str
    checkpoint: str
    how: Mapping[str, Any]
    outputs: Mapping[str, int]
    class_names: Sequence[str] | None
    groups: Mapping[int, str] | None
    hashes: Mapping[str, Any]
    index: Mapping[str, Any] | None = None
    thresholds: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "file": self.file,
            "precision": self.precision,
            "input": self.how,
            "outputs": self.outputs,
            "class_names": self.class_names,
            "groups": self.groups,
            "prediction": {"scores": "softmax", "views": "centre"},
            "thresholds": self.thresholds,
            "checkpoint": self.checkpoint,
            **self.hashes,
            "index": self.index,
            "shelfmark_version": __version__,
        }


def input_facts(data: DataOptions) -> dict[str, Any]:
    """`input` of model.json: how a picture becomes the network's input, as `data.transforms.eval_transform` does it."""
    settings, size = data.input_settings, data.input_size_px
    resize = [int(size / settings.eval_crop)] if data.eval_resize_px is None else list(data.eval_resize_px)
    return {
        "size_px": [size, size],
        "resize": {"size_px": resize, "largest_aspect": LARGEST_ASPECT, "antialias": True},
        "crop": "centre",
        "interpolation": settings.interpolation,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "max_bytes": data.max_image_bytes,
        "max_pixels": data.max_image_pixels,
        "color_profiles": data.color_profiles,
    }
