"""What a service answers with: an exported model, or a checkpoint. Legend: N pictures, H, W pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from shelfmark.config.overrides import Override
from shelfmark.core.folders import read_folder
from shelfmark.data.transforms import normalised
from shelfmark.export import predict
from shelfmark.export.folder import require_whole
from shelfmark.export.model_facts import input_facts
from shelfmark.retrieval.index_files import THRESHOLDS
from shelfmark.runtime.thresholds_file import read_thresholds
from shelfmark.runtime.trained_model import TrainedModel, open_model
from shelfmark.serving.preparations import EXPORTED, TRAINED, Preparation

EMBEDDING, LOGITS = "embedding", "logits"


class Model(Protocol):
    """name: for people. platform: in the words of Triton. facts: its hashes, as an index notes them. outputs: name ->
    width."""

    @property
    def name(self) -> str: ...

    @property
    def platform(self) -> str: ...

    @property
    def class_names(self) -> Sequence[str] | None: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    @property
    def outputs(self) -> Mapping[str, int]: ...

    @property
    def preparation(self) -> Preparation: ...

    @property
    def thresholds(self) -> Mapping[str, Any] | None:
        """The content of the thresholds.json that it brings."""
        ...

    @property
    def precision(self) -> str:
        """fp32 for the scores of the checkpoint; fp16 or int8 where an export has fewer bits, and so other scores."""
        ...

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Each output (N, width) float32 for pixels (N, H, W, 3) uint8. One thread at a time calls it."""
        ...


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """The model in a folder that `shelfmark export` wrote."""

    predictor: predict.Predictor

    @classmethod
    def open(cls, folder: Path, threads: int) -> ExportedModel:
        """threads: of the processor. UserError: the folder is no export, or is damaged."""
        return read_folder(folder, lambda whole: cls._read(whole, threads))

    @classmethod
    def _read(cls, folder: Path, threads: int) -> ExportedModel:
        require_whole(folder)
        return cls(predict.load(folder, threads=threads))

    @property
    def name(self) -> str:
        return str(self.predictor.facts["name"])

    @property
    def platform(self) -> str:
        return "onnxruntime_onnx" if self.predictor.facts["file"].endswith(".onnx") else "pytorch"

    @property
    def class_names(self) -> Sequence[str] | None:
        return self.predictor.facts["class_names"]

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.predictor.facts

    @property
    def outputs(self) -> Mapping[str, int]:
        return self.predictor.facts["outputs"]

    @property
    def preparation(self) -> Preparation:
        return Preparation(EXPORTED, self.predictor.facts["input"])

    @property
    def thresholds(self) -> Mapping[str, Any] | None:
        return self.predictor.facts["thresholds"]

    @property
    def precision(self) -> str:
        return str(self.predictor.facts["precision"])

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        return self.predictor.run(pixels)


@dataclass(frozen=True, eq=False)
class CheckpointModel:
    """The model in a checkpoint folder, in torch."""

    trained: TrainedModel
    platform: str = "pytorch"

    @classmethod
    def open(cls, folder: Path, overrides: Sequence[Override], threads: int) -> CheckpointModel:
        """threads: of the processor. UserError: as of `open_model`."""
        torch.set_num_threads(threads)
        return cls(open_model(folder, overrides))

    @property
    def name(self) -> str:
        return self.trained.recipe.name

    @property
    def class_names(self) -> Sequence[str] | None:
        return self.trained.class_names

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.trained.hashes.facts

    @property
    def outputs(self) -> Mapping[str, int]:
        return {EMBEDDING: self.trained.network.classifier.weight.shape[1], LOGITS: self.trained.num_classes}

    @property
    def preparation(self) -> Preparation:
        return Preparation(TRAINED, input_facts(self.trained.recipe.data))

    @property
    def thresholds(self) -> Mapping[str, Any] | None:
        found = read_thresholds(self.trained.run_folder / THRESHOLDS)
        return None if found is None else found.thresholds

    @property
    def precision(self) -> str:
        return "fp32"

    def run(self, pixels: np.ndarray) -> Mapping[str, np.ndarray]:
        model = self.trained
        # A copy: what a decoder or a client sent may be read alone, of which torch warns.
        images = normalised(torch.from_numpy(np.array(pixels.transpose(0, 3, 1, 2))), model.recipe.data)
        with torch.inference_mode():
            with model.precision.autocast():
                embedding = model.network.embed(images.to(model.precision.device))
            logits = model.network.logits(embedding)
        return {EMBEDDING: embedding.float().cpu().numpy(), LOGITS: logits.float().cpu().numpy()}


def warm_up(model: Model, batch: int) -> None:
    """Passes a batch of the largest size, so that the first requests find the model's memory in place."""
    height, width = model.preparation.input["size_px"]
    for pictures in dict.fromkeys((1, batch)):
        model.run(np.zeros((pictures, height, width, 3), np.uint8))
