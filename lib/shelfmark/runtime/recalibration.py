"""The inputs of every recalibration, and the writing of its result as a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from shelfmark.calibration import Linear
from shelfmark.core.contracts import Embeddings
from shelfmark.core.log import warn
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.runtime.features import model_features
from shelfmark.runtime.stored_features import STORED
from shelfmark.runtime.trained_model import TrainedModel


def run_features(model: TrainedModel, table: Table, split: str) -> Embeddings:
    """The split's embeddings in the checkpoint's run folder: read if they fit, else computed and stored there."""
    return model_features(model, table, model.run_folder / STORED / split)


def recalibrated_bytes(model: TrainedModel) -> int:
    """The bytes that the checkpoint of `save_recalibrated` takes at least: those of the weights."""
    return sum(tensor.nbytes for tensor in model.network.state_dict().values())


def warn_of_earlier(model: TrainedModel) -> None:
    """Warns if the checkpoint is recalibrated already, and says what that means for the scores."""
    steps = [step["method"] for step in model.recalibrations if not step["unmodified"]]
    if steps:
        warn(
            f"{model.checkpoint.folder} is recalibrated already ({', then '.join(steps)}), and is now recalibrated"
            " again. If that was done on val images, their scores are now a little too high; for a fair comparison"
            " recalibrate the original checkpoint"
        )


def classifier_tensors(model: TrainedModel) -> tuple[Tensor, Tensor | None]:
    """The classifier's weight (C, D) and bias (C,) or None, on the model's device."""
    classifier = model.network.classifier
    return classifier.weight.detach(), None if classifier.bias is None else classifier.bias.detach()


def with_origin(model: TrainedModel, calibration: Mapping[str, object]) -> dict[str, object]:
    """The facts of a recalibration with those of the checkpoint that it was made from, and of earlier ones."""
    checkpoint = model.checkpoint
    before = checkpoint.manifest.get("calibration")
    return {
        **calibration,
        "from_checkpoint": str(checkpoint.folder.resolve()),
        "from_checkpoint_sha256": checkpoint.weights_hash,
        **({"earlier": before} if before else {}),
    }


def save_recalibrated(
    model: TrainedModel,
    folder: Path,
    classifier: Linear,
    calibration: Mapping[str, object],
    scale: float | None = None,
) -> None:
    """Writes the checkpoint of `model` with another classifier, and reads it back.

    classifier: weight_ (C, D), None to keep the weight; bias_ (C,), also for a network without one. calibration: facts
    for the manifest. scale: the new one of a cosine classifier.
    """
    checkpoint = model.checkpoint
    # From the network, in which class factors are folded, not from the checkpoint, where they may be separate.
    tensors = model.network.state_dict()
    facts = {name: value for name, value in checkpoint.manifest.items() if name != "files"}
    facts["config"] = copy.deepcopy(facts["config"])
    options = facts["config"]["model"]["classifier"]
    like = tensors["classifier.weight"]
    if classifier.weight_ is not None:
        tensors["classifier.weight"] = classifier.weight_.to(like)
    if classifier.bias_ is not None:
        tensors["classifier.bias"] = classifier.bias_.to(like)
        options["bias"] = True
    if scale is not None:
        options["scale"] = scale
    facts["calibration"] = with_origin(model, calibration)
    # No optimizer state: no training run had these weights, so they can be finetuned but not resumed.
    save_checkpoint(folder, tensors, {}, facts)
    load_checkpoint(folder)
