"""A trained model, opened: what every command after training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.load import Override, load
from shelfmark.core import dist
from shelfmark.core.log import say
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.engine.precision import Precision
from shelfmark.models import Network
from shelfmark.recipe import Recipe, assemble


@dataclass(frozen=True)
class OpenedModel:
    """The network holds the checkpoint's weights, on its device, in evaluation mode."""

    checkpoint: Checkpoint
    recipe: Recipe
    network: Network
    precision: Precision

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64: training images a class."""
        return np.asarray(self.checkpoint.manifest["counts"], dtype=np.int64)

    @property
    def num_classes(self) -> int:
        return self.checkpoint.manifest["num_classes"]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        names = self.checkpoint.manifest["class_names"]
        return None if names is None else tuple(names)

    @property
    def run_folder(self) -> Path:
        return self.checkpoint.folder.parent

    def class_name(self, label: int) -> str:
        """The class's name, or its number where the catalogue has no names."""
        return self.class_names[label] if self.class_names else str(label)


def config_overrides(checkpoint: Checkpoint) -> list[Override]:
    """The options that a checkpoint was trained with, as the base of another command."""
    origin = f"checkpoint {checkpoint.folder}"
    return [Override(key, value, origin) for key, value in checkpoint.manifest["config"].items()]


def open_model(path: Path, overrides: list[Override] | None = None) -> OpenedModel:
    """Reads a checkpoint, its own options, then `overrides`."""
    checkpoint = load_checkpoint(path)
    recipe: Recipe = load(Recipe, None, [*config_overrides(checkpoint), *(overrides or [])]).config
    device = dist.local_device(recipe.train.device)
    network = assemble.network(recipe, checkpoint.manifest["num_classes"], load_weights=False)
    network.load_state_dict(checkpoint.model)
    precision = Precision.resolve(recipe.train.precision, device)
    say(f"model: {checkpoint.folder} ({_told(checkpoint.manifest)}), {device}, {precision.name}")
    return OpenedModel(checkpoint, recipe, network.to(device).eval(), precision)


def _told(manifest: dict[str, Any]) -> str:
    told = f"step {manifest['step']}, {manifest['num_classes']} classes"
    calibration = manifest.get("calibration")
    if not calibration:
        return told
    tau = f" with tau {calibration['tau']:g}" if "tau" in calibration else ""
    return f"{told}, {calibration['method']}{tau}"
