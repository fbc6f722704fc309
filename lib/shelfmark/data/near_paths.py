"""Files whose paths differ from one that is not there only in ways that the eye hardly sees."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable


class NearPaths:
    """Looks for the file that a path was meant to be. Each folder is listed once."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[set[str], dict[str, str]]] = {}

    def found(self, path: str) -> tuple[str, str] | None:
        """The path of the file that is there, and in what `path` differs from it; None where no file is near.

        path: absolute, of no file. It may differ in the form of Unicode, capital letters, blanks around names, and
        backslashes in place of slashes.
        """
        place, differences = "/", []
        slashed = path.replace("\\", "/")
        if slashed != path and not os.path.lexists(path):
            differences.append("backslashes in place of slashes")
        for name in slashed.strip("/").split("/"):
            names, by_folded = self._listed(place)
            if name in names or os.path.lexists(os.path.join(place, name)):
                place = os.path.join(place, name)
                continue
            other = by_folded.get(folded(name))
            if other is None:
                return None
            differences += [one for one in _differences(name, other) if one not in differences]
            place = os.path.join(place, other)
        return (place, " and ".join(differences)) if differences else None

    def _listed(self, folder: str) -> tuple[set[str], dict[str, str]]:
        if folder not in self._names:
            try:
                names = set(os.listdir(folder))
            except (OSError, ValueError):
                names = set()
            self._names[folder] = names, {folded(name): name for name in names}
        return self._names[folder]


def near_name(name: str, choices: Iterable[str]) -> tuple[str, str] | None:
    """The choice that `name` was meant to be, and in what they differ, as in `NearPaths.found`."""
    wanted = folded(name.replace("\\", "/"))
    for choice in choices:
        if choice != name and folded(choice) == wanted:
            slashes = ["backslashes in place of slashes"] if "\\" in name else []
            return choice, " and ".join(slashes + _differences(name.replace("\\", "/"), choice))
    return None


def folded(name: str) -> str:
    """What two names have in common that the eye hardly tells apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def _differences(name: str, other: str) -> list[str]:
    found = []
    ours, theirs = (unicodedata.normalize("NFC", one) for one in (name, other))
    if (ours == name) != (theirs == other):
        has = "decomposed (NFD)" if theirs != other else "composed (NFC)"
        found.append(f"the form of Unicode, which there is {has}")
    if (ours.strip() == ours) != (theirs.strip() == theirs) or len(ours) != len(theirs):
        found.append("blanks around a name")
    if ours.strip() != theirs.strip():
        found.append("capital letters")
    return found
