"""What every recalibration starts from, and how its result becomes a checkpoint."""

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
    """The split's embeddings in the checkpoint's run folder: read where they fit, else extracted and left there."""
    return model_features(model, table, model.run_folder / STORED / split)


def warn_of_earlier(model: TrainedModel) -> None:
    """Says where the checkpoint is recalibrated already, and what that means for the scores."""
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


def save_recalibrated(
    model: TrainedModel,
    folder: Path,
    classifier: Linear,
    calibration: Mapping[str, object],
    scale: float | None = None,
) -> None:
    """Writes the checkpoint of `model` with another classifier, and reads it back.

    classifier: weight_ (C, D), None where it stays as it is; bias_ (C,), which is added where the network has none.
    calibration: how it came about, for the manifest. scale: of a cosine classifier, where that has changed.
    """
    checkpoint = model.checkpoint
    # Of the network, whose class factors are folded, and not of the checkpoint, where they may stand by themselves.
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
    # A model that was recalibrated before keeps what was said of it.
    earlier = {"earlier": facts["calibration"]} if facts.get("calibration") else {}
    facts["calibration"] = {**calibration, "from_checkpoint_sha256": checkpoint.weights_hash, **earlier}
    # No optimizer state: these weights are no point of any training run, so they finetune but never resume.
    save_checkpoint(folder, tensors, {}, facts)
    load_checkpoint(folder)
