"""Ids and labels that the photographs of a folder get in an index. Legend: N images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.wording import counted
from shelfmark.data.class_map import class_key
from shelfmark.retrieval.index import Records, there_already


def folder_ids(folder: Path, names: Sequence[str], present: Records, prefix: str | None = None) -> list[str]:
    """An id for each photograph: the folder's name and the path from there, `moon_tea/1.jpg`.

    If such an id is taken by another photograph, all get the names of more folders above, `new/moon_tea/1.jpg`.
    names: (N,) paths relative to `folder`. present: of the index. prefix: in place of the names of folders.
    UserError: a photograph is in the index already.
    """
    folder = Path(os.path.abspath(folder))
    _require_new([str(folder / name) for name in names], present)
    if prefix is not None:
        return [f"{prefix}/{name}" for name in names]
    taken = {one: present.paths[row] for row, one in enumerate(present.ids)}
    above = folder.resolve().parts[1:]
    ids: list[str] = []
    for num_folders in range(min(1, len(above)), len(above) + 1):
        ids = ["/".join([*above[len(above) - num_folders :], name]) for name in names]
        clashes = [row for row, one in enumerate(ids) if one in taken]
        for row in clashes:
            # A link may lead to the folder under another path.
            if os.path.realpath(folder / names[row]) == os.path.realpath(taken[ids[row]]):
                raise there_already(str(folder / names[row]), ids[row], len(clashes))
        if not clashes:
            return ids
    raise UserError(f"the ids of the photographs in {folder} are taken, as {ids[0]!r}; give others with --id-prefix.")


def folder_labels(
    folder: Path, names: Sequence[str], known: Mapping[int, str], first_new: int
) -> tuple[np.ndarray, dict[int, str]]:
    """(N,) int64 labels by the name of each photograph's class folder, and the names of these labels.

    The class folder lies in `folder`; if `folder` has none, it is the class folder itself. known: label -> name, of
    classes that a folder may name; other names become labels from first_new on, in sorted order. UserError: there are
    photographs inside and outside of class folders, or two known classes have the name of a folder.
    """
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise UserError(
            f"{folder} has {counted(len(loose), 'photograph')} outside any class folder, such as {loose[0]}, and others"
            " in folders. Put each in the folder of its class."
        )
    own = Path(os.path.abspath(folder)).name
    classes = [own if loose else name.split("/", 1)[0] for name in names]
    labels_of: dict[str, list[int]] = {}
    for label, name in known.items():
        labels_of.setdefault(class_key(name), []).append(label)
    label_of: dict[str, int] = {}
    for name in sorted(set(map(class_key, classes))):
        found = labels_of.get(name, [])
        if len(found) > 1:
            raise UserError(
                f"the classes {' and '.join(map(str, sorted(found)))} are both called {name!r}, so that the folder of"
                f" this name in {folder} may be either. Leave it out; to an index its photographs are added with"
                " `shelfmark index add --label NUMBER`."
            )
        label_of[name] = found[0] if found else first_new
        first_new += not found
    used = {label: known.get(label, name) for name, label in label_of.items()}
    return np.array([label_of[class_key(name)] for name in classes], dtype=np.int64), used


def _require_new(paths: Sequence[str], present: Records) -> None:
    ids = dict(zip(present.paths, present.ids))
    # A link may lead to a photograph that is there under its own path.
    found = [(path, ids[one]) for path in paths for one in (path, os.path.realpath(path)) if one in ids]
    if found:
        raise there_already(*found[0], len({path for path, _ in found}))
