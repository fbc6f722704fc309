"""Checkpoints: folders that are whole or absent, checked by hash when they are read."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, sha256_file, write_json
from shelfmark.core.folders import atomic_folder, folder_to_read, left_by_version_1

FORMAT_VERSION = 1
MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds.

    model: the network's state_dict. state: what training needs to go on, empty in a recalibrated model.
    manifest: format_version, files, config, num_classes, class_names, counts, step, epoch, train_sha256 ...
    """

    folder: Path
    model: dict[str, Tensor]
    state: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the weights file: the identity of the model."""
        return self.manifest["files"][MODEL]["sha256"]


def save_checkpoint(
    folder: Path, model: Mapping[str, Tensor], state: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    """Writes model, state and a manifest with `facts` beside `folder`, then takes its place."""
    with atomic_folder(folder) as beside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.items()}, beside / MODEL)
        torch.save(dict(state), beside / STATE)
        files = {
            name: {"sha256": sha256_file(beside / name), "size_bytes": (beside / name).stat().st_size}
            for name in (MODEL, STATE)
        }
        write_json(beside / MANIFEST, {"format_version": FORMAT_VERSION, "files": files, **facts})


def copy_checkpoint(source: Path, target: Path) -> None:
    """The same checkpoint under another name. Its files are shared where the disk can: they are never changed."""
    with atomic_folder(target) as beside:
        for file in source.iterdir():
            try:
                os.link(file, beside / file.name)
            except OSError:
                shutil.copy2(file, beside / file.name)


def checkpoint_folder(path: Path) -> Path:
    """The folder that `--RESUME_MODEL path` means: `X.pth` is the folder `X` where that exists.

    Raises UserError where there is none, with the checkpoints that lie nearby.
    """
    candidates = [path.with_suffix("")] if path.suffix == ".pth" else []
    for candidate in [folder_to_read(one) for one in (*candidates, path)]:
        if (candidate / MANIFEST).is_file():
            return candidate
        nested = [candidate / name for name in ("last", "best_model") if (candidate / name / MANIFEST).is_file()]
        if nested:
            raise UserError(f"{candidate} is a run folder; name one of its checkpoints: {', '.join(map(str, nested))}.")
    if path.is_file():
        raise UserError(
            f"{path} is a file, but a Shelfmark checkpoint is a folder with {MODEL}, {STATE} and {MANIFEST}."
            " To start from backbone weights in a file, set model.weights=FILE."
        )
    raise UserError(f"there is no checkpoint at {path}.{left_by_version_1(path)}{_nearby(path)}")


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks a checkpoint; a damaged or foreign one is a UserError that names the file."""
    folder = checkpoint_folder(path)
    manifest = read_json(folder / MANIFEST)
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{folder} has checkpoint format {version!r}; this Shelfmark reads format {FORMAT_VERSION}.")
    for name, facts in manifest["files"].items():
        _check_file(folder / name, facts)
    try:
        model = load_file(folder / MODEL)
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read: {error}") from error
    return Checkpoint(folder, model, state, manifest)


def _check_file(file: Path, facts: Mapping[str, Any]) -> None:
    if not file.is_file():
        raise UserError(f"{file} is missing; the checkpoint is not whole.")
    size = file.stat().st_size
    if size != facts["size_bytes"]:
        raise UserError(f"{file} has {size} bytes, its manifest says {facts['size_bytes']}: cut off or replaced.")
    if sha256_file(file) != facts["sha256"]:
        raise UserError(f"{file} does not match the SHA-256 in its manifest: damaged or replaced.")


def _nearby(path: Path) -> str:
    for parent in (path.parent, path.parent.parent):
        found = sorted(str(file.parent) for file in parent.glob(f"**/{MODEL}")) if parent.is_dir() else []
        # The folder of all runs is where people look; the whole disk is not.
        if found and parent != Path():
            return f" Nearby: {', '.join(found[:5])}."
    return " Train one with `python main.py`; it lands under log/<run>/best_model."
