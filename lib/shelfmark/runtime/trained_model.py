"""A trained model, opened for a command: every command after training starts from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.overrides import Override
from shelfmark.core import dist
from shelfmark.core.door import command_line
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.wording import counted
from shelfmark.data.class_map import ClassList
from shelfmark.data.source_words import reads_files
from shelfmark.engine.checkpoint import Checkpoint, load_model
from shelfmark.engine.precision import Precision
from shelfmark.engine.resume import changes
from shelfmark.models.embedding_hash import embedding_hash
from shelfmark.models.network import Network
from shelfmark.recipe import Recipe, assemble
from shelfmark.recipe.of_checkpoint import recipe_of
from shelfmark.recipe.untrained import leaves_classifier_untrained
from shelfmark.runtime.model_hashes import ModelHashes


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint and its network, which has the weights, on its device, in evaluation mode."""

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
    def open_classes(self) -> tuple[int, ...]:
        """The classes that were kept out of its training by data.open_set_classes."""
        return tuple(self.checkpoint.manifest.get("open_set_classes") or ())

    @property
    def classes(self) -> ClassList:
        """The numbered classes that annotations are matched to."""
        return ClassList(self.num_classes, self.class_names, "the checkpoint")

    @property
    def recalibrations(self) -> list[dict[str, Any]]:
        """The facts of each recalibration of the checkpoint, the earliest first, also of those that changed nothing."""
        return recalibrations(self.checkpoint.manifest)

    @property
    def is_classifier_untrained(self) -> bool:
        """Whether its answers say nothing: no loss of its run trained the classifier, and no recalibration made one."""
        return leaves_classifier_untrained(self.recipe) and not self.recalibrations

    @cached_property
    def hashes(self) -> ModelHashes:
        """What its embeddings are known by."""
        earlier = [step.get("from_checkpoint_sha256") for step in self.recalibrations]
        known = tuple(one for one in earlier if one is not None)
        return ModelHashes(self.checkpoint.weights_hash, embedding_hash(self.network.state_dict()), known)

    @property
    def run_folder(self) -> Path:
        return self.checkpoint.folder.parent

    @property
    def earlier_folders(self) -> list[Path]:
        """The run folders of the checkpoints that it was recalibrated from, where they were then."""
        return [Path(step["from_checkpoint"]).parent for step in self.recalibrations if "from_checkpoint" in step]

    def class_name(self, label: int) -> str:
        """The class's name, or its number where the catalogue has no names."""
        return self.class_names[label] if self.class_names else str(label)


def open_model(path: Path, overrides: Sequence[Override] = ()) -> TrainedModel:
    """Reads a checkpoint, its own options, then `overrides`."""
    checkpoint, model = load_model(path)
    recipe = recipe_of(checkpoint, overrides)
    _require_its_classes(checkpoint, recipe)
    device = dist.local_device(recipe.train.device)
    network = assemble.network(recipe, checkpoint.manifest["num_classes"], load_weights=False)
    try:
        network.load_state_dict(model)
    except RuntimeError as error:
        raise _unfit(checkpoint, recipe) from error
    # Folded, so that the classifier's weight alone gives the scores, even if the checkpoint was learning class factors.
    network.fold_class_factors()
    precision = Precision.resolve(recipe.train.precision, device, checkpoint.manifest.get("precision", ""))
    say(f"model: {checkpoint.folder} ({_told(checkpoint.manifest)}), {device}, {precision.name}")
    return TrainedModel(checkpoint, recipe, network.to(device).eval(), precision)


def tell_source(model: TrainedModel) -> None:
    """Says it where images that annotations list are now read from elsewhere than in the training: for a command that
    reads such images."""
    now = model.recipe.data.source
    source = model.checkpoint.manifest["config"].get("data", {}).get("source", now)
    if source != now:
        told = f"trained with data.source={source}; images are read with data.source={now} now"
        gone = f". Where the files of listed images are gone, add data.source={source}"
        say(told + (gone if reads_files(now) else ""))


def _require_its_classes(checkpoint: Checkpoint, recipe: Recipe) -> None:
    num_classes, asked = checkpoint.manifest["num_classes"], recipe.data.num_classes
    if asked not in (0, num_classes):
        raise UserError(
            f"data.num_classes={asked}, but the model in {checkpoint.folder} has {counted(num_classes, 'class')}, and a"
            " trained model keeps its classes. Leave data.num_classes out; other classes need another training."
        )


def _unfit(checkpoint: Checkpoint, recipe: Recipe) -> UserError:
    """The error where the weights do not fit the network that the options describe."""
    own, now = recipe_of(checkpoint).model_dump(mode="json"), recipe.model_dump(mode="json")
    changed = [one for one in changes(own, now) if one.option.startswith("model.")]
    if not changed:
        return UserError(
            f"the weights in {checkpoint.folder} do not fit the network that its options describe. It was saved by"
            f" Shelfmark {checkpoint.manifest.get('shelfmark', '0.1.0')}; with another version of timm, the backbone"
            f" {recipe.model.backbone} may be another one. Take the version that the model was trained with."
        )
    names = ", ".join(one.option for one in changed)
    return UserError(
        f"the weights in {checkpoint.folder} do not fit {'; '.join(map(str, changed))}. A trained model keeps its"
        f" network. Leave {names} out, or train with it: `{command_line('train')}`."
    )


def recalibrations(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The facts of a model's recalibrations from its manifest, the earliest first."""
    steps = []
    step = manifest.get("calibration")
    while step:
        steps.append({name: value for name, value in step.items() if name != "earlier"})
        step = step.get("earlier")
    return steps[::-1]


def _told(manifest: dict[str, Any]) -> str:
    steps = [step_told(step) for step in recalibrations(manifest)]
    told = f"step {manifest['step']}, {counted(manifest['num_classes'], 'class')}"
    return f"{told}, {', then '.join(steps)}" if steps else told


def step_told(calibration: dict[str, Any]) -> str:
    """One of `recalibrations` in words, such as `tau_norm with tau 0.7`."""
    if calibration["method"] == "unmodified" and "temperature" in calibration:
        return "a temperature alone"
    tau = f" with tau {calibration['tau']:g}" if "tau" in calibration else ""
    return f"{calibration['method']}{tau}"
