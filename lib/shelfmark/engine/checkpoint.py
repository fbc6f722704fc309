"""Checkpoints: folders that are whole or absent, of which every byte is checked as it is read."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.folders import CHECKPOINT, atomic_folder, folder_to_read, read_folder
from shelfmark.core.log import warn
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest
from shelfmark.engine.checkpoint_folder import MANIFEST, MODEL, STATE, checkpoint_folder, generation_before, previous_of
from shelfmark.engine.checkpoint_versions import (
    FORMAT_VERSION,
    NewerFormatError,
    upgraded_manifest,
    upgraded_state,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder. Opening it reads the manifest alone; `read_model` and `read_state` read the tensors.

    manifest: format_version, files, config, num_classes, class_names, counts, step, epoch, train_sha256 ...
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights file: the identity of the model."""
        return self.manifest["files"][MODEL]["sha256"]

    @property
    def has_state(self) -> bool:
        """Whether training can go on from it; a recalibrated model holds no optimizer."""
        return self.manifest["has_state"]

    def read_model(self) -> dict[str, Tensor]:
        """The network's state_dict, read from disk and checked at each call."""
        self._check(MODEL)
        try:
            return load_file(self.folder / MODEL)
        except (SafetensorError, ValueError, OSError) as error:
            raise UserError(f"{self.folder / MODEL} cannot be read: {error}") from error

    def read_state(self) -> dict[str, Any]:
        """The training state, brought to the present format; {} in a recalibrated model."""
        self._check(STATE)
        try:
            state = torch.load(self.folder / STATE, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise UserError(f"{self.folder / STATE} cannot be read: {error}") from error
        return upgraded_state(state, self.manifest["format_version"])

    def require_whole(self) -> None:
        """Raises a UserError that names the first file which is missing or damaged."""
        for name in self.manifest["files"]:
            self._check(name)

    def _check(self, name: str) -> None:
        check_file(self.folder / name, self.manifest["files"].get(name))


def save_checkpoint(
    folder: Path,
    model: Mapping[str, Tensor],
    state: Mapping[str, Any],
    facts: Mapping[str, Any],
    previous: Path | None = None,
) -> None:
    """Writes model, state and a manifest with `facts`, and puts them in the place of `folder` at once.

    previous: where the checkpoint that it replaces goes; None removes that checkpoint.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}
    size_bytes = sum(tensor.nbytes for tensor in tensors.values())
    with atomic_folder(folder, kind=CHECKPOINT, previous=previous, size_bytes=size_bytes) as beside:
        save_file(tensors, beside / MODEL)
        # Into a stream: torch hides why a path could not be written.
        with open(beside / STATE, "wb") as stream:
            torch.save(dict(state), stream)
        files = {name: file_facts(beside / name) for name in (MODEL, STATE)}
        own = {"format_version": FORMAT_VERSION, "files": files, "has_state": bool(state)}
        write_manifest(beside / MANIFEST, {**facts, **own})


def copy_checkpoint(source: Path, target: Path, previous: Path | None = None) -> None:
    """Copies a checkpoint to another name, in files of its own, so that damage to one leaves the other whole."""
    with atomic_folder(target, kind=CHECKPOINT, previous=previous) as beside:
        for name in (MODEL, STATE, MANIFEST):
            shutil.copyfile(source / name, beside / name)


def config_overrides(checkpoint: Checkpoint) -> list[Override]:
    """The options that a checkpoint was trained with, as the base of another command."""
    origin = f"checkpoint {checkpoint.folder}"
    return [Override(key, value, origin) for key, value in checkpoint.manifest["config"].items()]


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint: its manifest is read and checked, tensors are not; a foreign one is a UserError."""
    folder = checkpoint_folder(path)
    return Checkpoint(folder, upgraded_manifest(read_manifest(folder / MANIFEST), folder))


def load_model(path: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """A checkpoint and its network's state_dict. Both of one moment, even if a run replaces the folder meanwhile."""

    def read(folder: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
        checkpoint = load_checkpoint(folder)
        return checkpoint, checkpoint.read_model()

    return read_folder(checkpoint_folder(path), read)


def whole_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint and checks every byte, which reads its files once.

    Where it is damaged, a warning says so and the generation before it is returned. UserError: both are damaged.
    """
    checkpoint, damage = _first_good(path, Checkpoint.require_whole)
    if damage is not None:
        warn(f"{damage} The checkpoint before it is used: {checkpoint.folder}, of step {checkpoint.manifest['step']}.")
    return checkpoint


def readable_checkpoint(path: Path) -> Checkpoint:
    """As `whole_checkpoint`, but only the manifest is read and checked, and no warning is given."""
    return _first_good(path, lambda checkpoint: None)[0]


def _first_good(path: Path, require: Callable[[Checkpoint], None]) -> tuple[Checkpoint, UserError | None]:
    """The checkpoint, and None; or the generation before it, and the error of the damaged one."""
    try:
        checkpoint = load_checkpoint(path)
        require(checkpoint)
        return checkpoint, None
    except UserError as error:
        before = generation_before(path)
        if before is None:
            raise
        try:
            checkpoint = load_checkpoint(before)
            require(checkpoint)
        except UserError as also:
            raise UserError(
                f"{error} The one before it cannot be read either: {also} The command that began the run goes on from"
                " its best model with --RESUME_MODEL auto, or begins anew where that is damaged too."
            ) from None
        return checkpoint, error


def newest_whole(run_folder: Path) -> Checkpoint | None:
    """The undamaged checkpoint of a run with the most steps; a warning names damaged ones. None: the run has none.

    UserError: the run has checkpoints, but none is usable, or one is of a newer version.
    """
    names = ("last", previous_of(run_folder / "last").name, "best_model")
    found, problems = [], []
    for place, name in enumerate(names):
        folder = folder_to_read(run_folder / name)
        if not os.path.lexists(folder):
            continue
        try:
            found.append((load_checkpoint(folder), -place))
        except NewerFormatError:
            raise
        except UserError as error:
            problems.append(str(error))
    for checkpoint, _ in sorted(found, key=lambda one: (one[0].manifest["step"], one[1]), reverse=True):
        try:
            checkpoint.require_whole()
            for problem in problems:
                warn(f"{problem} It is passed over.")
            return checkpoint
        except UserError as error:
            problems.append(str(error))
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(
            f"{run_folder} has checkpoints, and none of them can be used:\n{listed}\nTo begin the run anew, give it"
            " another name, as name=NAME, or move the folder away."
        )
    return None
