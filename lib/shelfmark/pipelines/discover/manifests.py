"""Manifests of stages: options and inputs, so that a done stage is skipped and one of other options is refused."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.config.keys import is_within
from shelfmark.config.renamed import present_options
from shelfmark.config.shape import Shape
from shelfmark.core.artefact import differences, flat, listed
from shelfmark.core.errors import UserError, choose
from shelfmark.core.files import plain, sha256_file, sha256_json
from shelfmark.core.log import say
from shelfmark.core.manifests import read_manifest, write_manifest
from shelfmark.pipelines.discover.files import FORMAT_VERSION, STAGES, RunFiles, Stage
from shelfmark.pipelines.discover.review.apply import set_aside_review
from shelfmark.recipe import Recipe

_TRAIN_RUNTIME = {
    "data.num_workers",
    "data.test_json",
    "data.test_root",
    "data.generated",
    "train.device",
    "train.log_every_steps",
    "train.checkpoint_every_steps",
    "train.checkpoint_every_epochs",
    "train.checkpoint_every_minutes",
    "train.keep_last",
    "train.max_bad_steps",
    "train.stall_s",
    "train.stall_limit_s",
    "eval.batch_size",
}
_SHAPING: dict[Stage, tuple[str, ...]] = {
    "train": (
        *("seed", "data", "augment", "sampling", "model", "losses", "optim", "train", "eval"),
        *("discovery.warm_start", "discovery.later_weight_decay", "discovery.selection.weight_by_density"),
    ),
    "embed": (),
    "clusterer": ("seed", "discovery.clusterer"),
    "clusters": ("discovery.reselect",),
    "selection": ("seed", "discovery.reselect", "discovery.selection"),
    "report": ("seed", "eval.recall_at", "eval.retrieval_metric"),
}


@dataclass(frozen=True)
class StageManifest:
    """The options and inputs of a stage. options: by dotted name. inputs: name -> hash."""

    run: RunFiles
    round: int
    stage: Stage
    options: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def is_done(self) -> bool:
        return self.run.manifest(self.round, self.stage).is_file()

    @property
    def _begun(self) -> Path:
        # Beside the folder, which must be empty before the stage writes to it.
        return self.run.round(self.round) / f"{self.stage}.begun.json"

    def require_fit(self) -> None:
        """Raises a UserError if the stage was done, or begun, with other options or from other files."""
        file = self.run.manifest(self.round, self.stage) if self.is_done else self._begun
        if not file.is_file():
            return
        before = read_manifest(file, unversioned=True)
        redo = f"--redo {self.round}/{self.stage} makes it and all that follows anew; name=OTHER begins another run"
        named = f"stage {self.stage} of round {self.round} in {self.run.folder}"
        options = _whole(present_options(before["options"]))
        if changed := differences(options, plain(self.options), _defaults(self.stage)):
            raise UserError(f"{named} was made with other options: {listed(changed)}. {redo}.")
        if others := differences(before["inputs"], self.inputs):
            names = ", ".join(one.name for one in others)
            raise UserError(f"{named} was made from other files: {names} changed since. {redo}.")

    def begin(self) -> None:
        write_manifest(self._begun, self._value())

    def finish(self, outputs: Mapping[str, Path]) -> None:
        """Writes the manifest, with which the stage is done. outputs: the files that later stages read."""
        hashes = {name: sha256_file(file) for name, file in outputs.items()}
        # For a stage that was killed and resumed, the seconds since it was resumed.
        seconds = round(time.time() - self._begun.stat().st_mtime, 1) if self._begun.is_file() else None
        value = {**self._value(), "seconds": seconds, "outputs": hashes}
        write_manifest(self.run.manifest(self.round, self.stage), value)
        self._begun.unlink(missing_ok=True)

    def _value(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "stage": self.stage,
            "round": self.round,
            "options": self.options,
            "options_sha256": sha256_json(self.options),
            "inputs": self.inputs,
        }


def shaping_options(recipe: Mapping[str, Any], stage: Stage) -> dict[str, Any]:
    """The options, by dotted name, that shape a stage. recipe: as JSON."""
    left_out = _TRAIN_RUNTIME | _void_targets(recipe["discovery"]["selection"])

    def shapes(name: str) -> bool:
        return name not in left_out and any(is_within(name, key) for key in _SHAPING[stage])

    return {name: value for name, value in flat(recipe).items() if shapes(name)}


def _void_targets(selection: Mapping[str, Any]) -> set[str]:
    """Target precisions without effect, because no threshold is learned for them: they may change within a run."""
    is_void = {
        "target_precision": selection["density_threshold"] is not None,
        "join_precision": not selection["join_known"],
    }
    return {f"discovery.selection.{name}" for name, void in is_void.items() if void}


def _defaults(stage: Stage) -> dict[str, Any]:
    """The default values of options, which count for a stage that is older than an option."""
    return shaping_options(Recipe().model_dump(mode="json"), stage)


def _whole(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an older stage, with the defaults of younger options inside lists such as `losses`."""
    whole = {}
    for name, value in options.items():
        place: Shape | None = Shape.of(Recipe)
        for part in name.split("."):
            place = place.child(part) if place else None
        whole[name] = place.with_defaults(value) if place else value
    return whole


def outputs_hash(run: RunFiles, number: int, stage: Stage) -> str:
    """One hash of the files of a done stage that later stages read."""
    return sha256_json(read_manifest(run.manifest(number, stage), unversioned=True)["outputs"])


def forget(run: RunFiles, redo: str) -> None:
    """Removes a stage, such as `train` of round 0 or `1/selection`, and all later stages, the last one first."""
    number_text, slash, name = redo.rpartition("/")
    if slash and not number_text.isdecimal():
        raise UserError(f"--redo {redo}: write ROUND/STAGE, as 1/selection, or a stage alone for that of round 0.")
    stage: Stage = choose("--redo", name, STAGES)  # type: ignore[assignment]
    first = int(number_text) if slash else 0
    last = first
    while run.round(last + 1).is_dir():
        last += 1
    for number in range(last, first - 1, -1):
        for one in reversed(STAGES):
            if number == first and STAGES.index(one) < STAGES.index(stage):
                break
            _remove(run, number, one)
    say(f"stage {stage} of round {first} and all that follows it are made anew")


def _remove(run: RunFiles, number: int, stage: Stage) -> None:
    # The manifest goes first, so that a partly removed stage does not count as done.
    run.manifest(number, stage).unlink(missing_ok=True)
    if stage == "report":
        set_aside_review(run, number)
    shutil.rmtree(run.stage(number, stage), ignore_errors=True)
    (run.round(number) / f"{stage}.begun.json").unlink(missing_ok=True)
