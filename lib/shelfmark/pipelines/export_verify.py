"""`shelfmark export verify`: the proof once more, on the machine and the runtime at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.overrides import Override
from shelfmark.core.artefact import differences, flat, listed
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json
from shelfmark.export import predict
from shelfmark.export.folder import require_whole
from shelfmark.export.model_facts import input_facts
from shelfmark.export.onnx_files import require_packages
from shelfmark.export.predict import MODEL, REFERENCE
from shelfmark.export.proof import FEWEST_PICTURES, measure
from shelfmark.pipelines.export import network_of, proof_of
from shelfmark.runtime.proof_pictures import Pictures, require_read
from shelfmark.runtime.trained_model import TrainedModel, open_model


@dataclass(frozen=True)
class Verified:
    """unmet: a line on each number that is not as allowed. pixels_equal: reference pictures whose pixels are, byte for
    byte, those of the export; None for other pictures."""

    folder: Path
    measured: dict[str, Any]
    allowed: dict[str, float]
    unmet: list[str]
    pixels_equal: int | None

    @property
    def is_weaker(self) -> bool:
        return self.measured["pictures"] < FEWEST_PICTURES

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "measured": self.measured,
            "allowed": self.allowed,
            "unmet": self.unmet,
            "pixels_equal": self.pixels_equal,
            "is_weaker": self.is_weaker,
        }


def verify(
    folder: Path, images: Path | None = None, checkpoint: Path | None = None, overrides: Sequence[Override] = ()
) -> Verified:
    """The reference pictures of the folder, or those of `images`, whose outputs the checkpoint then gives anew.

    checkpoint: its present place, if it was moved. UserError: a file of the folder is damaged, or the checkpoint is
    gone, or is another one.
    """
    parity = require_whole(folder)
    require_packages(("onnxruntime",))
    predictor = predict.load(folder)
    if images is None:
        if not (folder / REFERENCE).is_dir():
            raise UserError(
                f"{folder} was handed on without the pictures in {REFERENCE}/, so there is nothing to compare with."
                " Compare on other pictures: --images DIR, with --RESUME_MODEL CKPT."
            )
        found = predict.check(predictor)
        return Verified(folder, found["measured"], found["allowed"], found["unmet"], found["pixels_equal"])
    facts = read_json(folder / MODEL)
    model = open_model(_place(facts, checkpoint), overrides)
    if model.checkpoint.weights_hash != facts["checkpoint_sha256"]:
        raise UserError(
            f"{folder} was exported from a checkpoint {facts['checkpoint_sha256'][:12]}, and {model.checkpoint.folder}"
            f" is {model.checkpoint.weights_hash[:12]}. Give that one as --RESUME_MODEL, or export this one."
        )
    _require_same_input(folder, facts, model)
    pictures = Pictures.of(model, images)
    expected = proof_of(model, network_of(model)).expected(pictures.source, pictures.rows, pictures.labels)
    require_read(expected, len(pictures.rows))
    measured, _ = measure(predictor, pictures.source, expected)
    allowed = parity["allowed_of_file"]
    return Verified(folder, measured, allowed, predict.unmet(measured, allowed), None)


def _require_same_input(folder: Path, facts: dict[str, Any], model: TrainedModel) -> None:
    changed = differences(flat(facts["input"]), flat(input_facts(model.recipe.data)))
    if changed:
        raise UserError(
            f"{folder} was exported with another input than the options say now: {listed(changed)}. Give the options of"
            " `data` with which it was exported."
        )


def _place(facts: dict[str, Any], given: Path | None) -> Path:
    path = given or Path(facts["checkpoint"])
    if given is None and not path.exists():
        raise UserError(
            f"--images compares with the checkpoint, and {path} is gone; say where it is now with --RESUME_MODEL."
            " Without --images the pictures in reference/ are compared, which needs no checkpoint."
        )
    return path
