"""`shelfmark push` and `pull`: a checkpoint to a hub or a folder, and back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.folders import CARD, atomic_folder
from shelfmark.core.log import say
from shelfmark.engine.checkpoint import Checkpoint, whole_checkpoint
from shelfmark.engine.foreign_checkpoint import FILES, copy_to_share, require_sound
from shelfmark.runtime.model_card.card import snippet_for
from shelfmark.runtime.model_card.written import write_card
from shelfmark.runtime.model_hub import download, endpoint, upload

FILE = "file"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Shared:
    """checkpoint: the folder here. place: the address there."""

    checkpoint: Path
    place: str
    weights_sha256: str
    num_classes: int

    def as_json(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "place": self.place,
            "weights_sha256": self.weights_sha256,
            "num_classes": self.num_classes,
        }


def push(path: Path, target: str, with_state: bool = False, public: bool = False) -> Shared:
    """Puts a whole checkpoint into `OWNER/NAME` of the hub, or into the folder `file:///folder`.

    with_state: with what a training needs to go on, which doubles the size or triples it; without it the copy can be
    used and finetuned. public: a repository that is made now can be seen by everybody.
    """
    folder = _folder_of(target)
    if folder is not None:
        require_place(folder, "REPO", is_folder=True)
    checkpoint = whole_checkpoint(path)
    name = _last_part(target, folder)
    if folder is not None:
        with atomic_folder(folder) as made:
            _stage(checkpoint, made, target, name, with_state)
        place = str(folder)
    else:
        with TemporaryDirectory(prefix="shelfmark_push_") as beside:
            _stage(checkpoint, Path(beside), target, name, with_state)
            place = upload(Path(beside), target, not public, f"{checkpoint.manifest['config']['name']}, by Shelfmark")
    say(f"its manifest tells the options of the training, with their paths, and names and counts of classes: {place}")
    return Shared(checkpoint.folder, place, checkpoint.weights_hash, checkpoint.manifest["num_classes"])


def pull(source: str, out: Path | None = None, revision: str | None = None) -> Shared:
    """Fetches a checkpoint into a new folder; it is there only once every byte was checked, see `require_sound`."""
    folder = _folder_of(source)
    if folder is not None and revision is not None:
        raise UserError(f"--revision {revision} is of a repository at a hub; {source} is a folder.")
    target = out or Path(_last_part(source, folder))
    require_place(target, "--out", is_folder=True)
    if target.exists():
        raise UserError(f"{target} exists; nothing is fetched over it. Give another --out.")
    fetch = _copy(folder) if folder is not None else lambda made: download(source, revision, made)
    with atomic_folder(target) as made:
        fetch(made)
        checkpoint = require_sound(made)
    place = str(folder) if folder is not None else f"{endpoint()}/{source}"
    return Shared(target, place, checkpoint.weights_hash, checkpoint.manifest["num_classes"])


def _stage(checkpoint: Checkpoint, made: Path, target: str, name: str, with_state: bool) -> None:
    """The files that leave: the checkpoint, with a card that says how it is fetched."""
    copy_to_share(checkpoint, made, with_state)
    card = checkpoint.folder / CARD
    if card.is_file():
        shutil.copyfile(card, made / CARD)
    else:
        write_card(made, None)
    text = (made / CARD).read_text(encoding="utf-8")
    write_text(made / CARD, snippet_for(text, Path(name), f"after: shelfmark pull {target} --out {name}"))


def _copy(folder: Path) -> Callable[[Path], None]:
    def copy(made: Path) -> None:
        for name in (*FILES, CARD):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, made / name)
            elif name != CARD:
                raise UserError(f"{folder} holds no checkpoint of Shelfmark: {name} is missing.")

    return copy


def _last_part(place: str, folder: Path | None) -> str:
    """What a copy is called where nobody says otherwise."""
    return place.rpartition("/")[2] if folder is None else folder.name


def _folder_of(place: str) -> Path | None:
    """The folder of `file:///folder`; None for `OWNER/NAME`. UserError: it is neither."""
    parts = urlsplit(place)
    if parts.scheme == FILE:
        if parts.netloc not in ("", "localhost") or not unquote(parts.path).strip("/"):
            raise UserError(f"{place!r} names no folder; write its whole path, as file:///home/me/models/shop.")
        return Path(unquote(parts.path))
    if not _NAME.fullmatch(place):
        raise UserError(f"{place!r} is neither a repository, OWNER/NAME, nor a folder, file:///home/me/models/shop.")
    return None
