"""Files and folders that a command line names: those that must be there, and those that will be written. They are
looked at as the line is read, before long imports.

A check here refuses only what the command would refuse later, when it has read more. `option(..., type=...)` takes one.
What a check needs is imported within it: most command lines need none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from shelfmark.core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from shelfmark.core.milvus_place import Place

AUTO = Path("auto")
_LOOKED_AT = 2000
"""Names in a folder that are compared with one that is missing; a folder of images may hold millions."""


def config_file(text: str) -> Path:
    """A YAML file, or the name of a shipped one, that can be read, and so can the files that it builds on."""
    from shelfmark.config.files import find_config, read_config

    file = find_config(Path(text))
    read_config(file)
    return file


def checkpoint(text: str) -> Path:
    """A checkpoint folder; `X.pth` may stand for the folder X."""
    from shelfmark.engine.checkpoint_folder import checkpoint_folder

    checkpoint_folder(Path(text))
    return Path(text)


def run_or_checkpoint(text: str) -> Path:
    """A checkpoint folder; of a run's folder it is `best_model`, or `last` where there is no best one yet."""
    from shelfmark.core.folders import folder_to_read
    from shelfmark.engine.checkpoint_folder import MANIFEST, checkpoint_folder

    for name in ("best_model", "last"):
        inside = Path(text) / name
        if (folder_to_read(inside) / MANIFEST).is_file():
            return inside
    checkpoint_folder(Path(text))
    return Path(text)


def checkpoint_or_auto(text: str) -> Path:
    """As `checkpoint`, of a run that goes on: `auto`, or one of which the generation before it is still there."""
    from shelfmark.engine.checkpoint_folder import checkpoint_folder, generation_before

    path = Path(text)
    if path != AUTO:
        try:
            checkpoint_folder(path)
        except UserError:
            if generation_before(path) is None:
                raise
    return path


def existing_file(what: str, advice: str = "") -> Callable[[str], Path]:
    """A type of options. what: as `an annotation file`. advice: how one is made."""
    return lambda text: _existing(Path(text), what, advice, is_folder=False)


def existing_folder(what: str, advice: str = "") -> Callable[[str], Path]:
    """A type of options. A folder that a kill left without its name is there. what, advice: as of `existing_file`."""
    return lambda text: _existing(Path(text), what, advice, is_folder=True)


def existing(what: str, advice: str = "") -> Callable[[str], Path]:
    """A type of options: a file or a folder. what, advice: as of `existing_file`."""
    return lambda text: _existing(Path(text), what, advice, is_folder=None)


def output_file(text: str) -> Path:
    """A type of `--out`: a place where a file can be written."""
    return _place(text, is_folder=False)


def output_folder(text: str) -> Path:
    """A type of `--out`: a place where a folder can be made, or one that is there."""
    return _place(text, is_folder=True)


def output_path(text: str) -> Path:
    """A type of `--out`: a place for a file or a folder, whichever the command writes there."""
    return _place(text, is_folder=os.path.isdir(text))


def store_place(text: str) -> Place:
    """A type of `--store`: the address of a Milvus, which is not looked for yet."""
    from shelfmark.core.milvus_place import Place

    return Place.of(text)


def memory(text: str) -> int:
    """A type of `--memory`: a size, in bytes."""
    from shelfmark.core.sizes import memory_size

    return memory_size(text)


def require_one(paths: list[Path], what: str) -> None:
    """Raises UserError if none of the paths exists: nothing could be answered. what: as `a photograph`."""
    if not any(os.path.lexists(path) for path in paths):
        _missing(paths[0], what, "")


def _place(text: str, is_folder: bool) -> Path:
    from shelfmark.core.destinations import require_place

    return require_place(Path(text), "--out", is_folder)


def _existing(path: Path, what: str, advice: str, is_folder: bool | None) -> Path:
    from shelfmark.core.folders import folder_to_read

    place = folder_to_read(path) if is_folder else path
    try:
        is_there_as_folder = place.is_dir()
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        _missing(path, what, advice)
    except ValueError:
        raise UserError(f"{str(path)!r} is not {what}: no name holds a NUL character.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    if is_folder is not None and is_there_as_folder != is_folder:
        raise UserError(f"{path} is not {what}: it is a {'folder' if is_there_as_folder else 'file'}.")
    return path


def _missing(path: Path, what: str, advice: str) -> NoReturn:
    from shelfmark.core.folders import left_by_version_1

    near = _near(path)
    hint = f" Did you mean {near}?" if near else f" {advice}" if advice else ""
    raise UserError(f"{path} is not {what}: it does not exist.{hint}{left_by_version_1(path)}")


def _near(path: Path) -> Path | None:
    """The path with its first missing part spelled as a neighbour; up to that part, if the rest is missing too."""
    missing = next((part for part in (*reversed(path.parents), path) if not os.path.lexists(part)), None)
    if missing is None:
        return None
    try:
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, _LOOKED_AT)]
    except OSError:
        return None
    close = did_you_mean(missing.name, [name for name in names if not name.startswith(".")])
    if close is None:
        return None
    meant = missing.with_name(close)
    whole_meant = meant / path.relative_to(missing)
    return whole_meant if os.path.lexists(whole_meant) else meant
