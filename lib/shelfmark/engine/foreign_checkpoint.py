"""Checkpoints that leave this machine, and those that come from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.folders import CARD
from shelfmark.core.manifests import file_facts, write_manifest
from shelfmark.engine.checkpoint import Checkpoint, load_checkpoint
from shelfmark.engine.checkpoint_folder import MANIFEST, MODEL, STATE
from shelfmark.engine.checkpoint_versions import FORMAT_VERSION

FILES = (MANIFEST, MODEL, STATE)
"""The files that a checkpoint must have; a card may stand beside them."""


def copy_to_share(checkpoint: Checkpoint, made: Path, with_state: bool) -> None:
    """Copies the files of a whole checkpoint into an empty folder. The weights stay byte for byte, and with them the
    hash by which indexes know the model.

    with_state: with the training state; without it the copy can be used and finetuned, and not resumed.
    """
    shutil.copyfile(checkpoint.folder / MODEL, made / MODEL)
    if with_state:
        for name in (STATE, MANIFEST):
            shutil.copyfile(checkpoint.folder / name, made / name)
        return
    with open(made / STATE, "wb") as stream:
        torch.save({}, stream)
    files = {MODEL: checkpoint.manifest["files"][MODEL], STATE: file_facts(made / STATE)}
    own = {"format_version": FORMAT_VERSION, "files": files, "has_state": False}
    write_manifest(made / MANIFEST, {**checkpoint.manifest, **own})


def require_sound(folder: Path) -> Checkpoint:
    """The checkpoint in a folder that was just fetched.

    UserError: a file is missing, or is not what the manifest says byte for byte; or the training state is a pickle of
    anything but tensors and plain values, of which nothing is executed; or there is a file that no checkpoint has.
    """
    checkpoint = load_checkpoint(folder)
    listed, there = set(checkpoint.manifest["files"]), {path.name for path in folder.iterdir()}
    if listed != {MODEL, STATE}:
        raise UserError(f"{folder / MANIFEST} lists {', '.join(sorted(listed))}: that is no checkpoint of Shelfmark.")
    foreign = there - {*FILES, CARD}
    if foreign:
        raise UserError(f"{folder} holds {', '.join(sorted(foreign))}, which no checkpoint of Shelfmark has.")
    checkpoint.require_whole()
    checkpoint.read_model()
    checkpoint.read_state()
    return checkpoint
