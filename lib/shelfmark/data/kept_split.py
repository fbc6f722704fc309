"""A division of pictures into train and val that stays as it is when pictures come or go."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping

VAL_FRACTION = 0.2


def kept_split(
    pictures: Mapping[str, str], was_train: Collection[str] = (), was_val: Collection[str] = ()
) -> tuple[dict[str, str], dict[str, str]]:
    """train and val, path -> class, of `pictures`, path -> class.

    was_train, was_val: paths of an earlier division. A picture that was in it stays on its side. The others go to val
    where their class lacks a fifth of its pictures there, those first whose path has the smallest hash: so neither the
    order of the pictures nor those of other classes count. A class of three pictures has one in val at least, and
    every class keeps one for train. If no class has three, those of two give one.
    """
    by_class: dict[str, list[str]] = defaultdict(list)
    for path, name in pictures.items():
        by_class[name].append(path)
    fewest = 3 if any(len(paths) >= 3 for paths in by_class.values()) else 2
    val: set[str] = set()
    for paths in by_class.values():
        kept = {path for path in paths if path in was_val}
        new = sorted((path for path in paths if path not in was_val and path not in was_train), key=_hash)
        wanted = _num_val(len(paths), fewest) - len(kept)
        drawn = new[: max(0, wanted)]
        # Whatever was drawn: a class whose only train pictures were removed would be unknown.
        val |= kept | set(drawn) if len(kept) + len(drawn) < len(paths) else set(sorted(kept, key=_hash)[1:])
    return (
        {path: name for path, name in pictures.items() if path not in val},
        {path: name for path, name in pictures.items() if path in val},
    )


def _num_val(num_pictures: int, fewest: int) -> int:
    if num_pictures < fewest:
        return 0
    return min(num_pictures - 1, max(1, round(VAL_FRACTION * num_pictures)))


def _hash(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()
