"""The list at another commit: what is found there again stays, at its place of today, and the rest is drawn anew."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mutant_draw import Candidate, Draw, entry
from mutant_kinds import changes_of
from mutant_places import Places

from shelfmark.core.errors import UserError

Kept = dict[int, Candidate]


def renewed(
    places: Places,
    mutants: Sequence[Mapping[str, Any]],
    number: int,
    seed: int,
    modules: Sequence[str] = (),
    without: Collection[int] = (),
) -> list[dict[str, Any]]:
    """The entries in the order of their ids; what stays keeps its id, and a new one has an id that became free.

    Each of `modules`, and each room, has one at least. Where that makes too many, rooms furthest above their share
    lose one; where there are too few, rooms furthest below get one. without: ids whose changes are not drawn again.
    """
    kept = {one["id"]: found for one in mutants if (found := candidate_of(places, one))}
    drawn = Draw(places, seed)
    shares = drawn.shares(number)
    unwanted = [kept.pop(key) for key in without if key in kept]
    drawn.rooms = {room: [one for one in group if one not in unwanted] for room, group in drawn.rooms.items()}
    wanted = _wanted(drawn, kept, modules)
    while len(kept) + len(wanted) > number:
        del kept[_surplus(drawn, kept, shares, modules)]
    drawn.chosen = list(kept.values())
    new = [drawn.take(group) for group in wanted]
    while len(kept) + len(new) < number:
        count = Counter(place.room for place, _ in drawn.chosen)
        new.append(drawn.take(drawn.rooms[min(shares, key=lambda room: (count[room] - shares[room], room))]))
    free = (key for key in itertools.count(1) if key not in kept)
    entries = {**kept, **{next(free): candidate for candidate in new if candidate}}
    return [entry(key, *entries[key]) for key in sorted(entries)]


def candidate_of(places: Places, mutant: Mapping[str, Any]) -> Candidate | None:
    """Its place and its change, where both are there."""
    found = places.find(mutant)
    changes = changes_of(found.place.statement) if found else []
    return next(((found.place, change) for change in changes if found and change.after == found.after), None)


def _wanted(drawn: Draw, kept: Kept, modules: Sequence[str]) -> list[list[Candidate]]:
    """The candidates of each module and room that has no mutant."""
    broken = [place.module for place, _ in kept.values()]
    groups: list[list[Candidate]] = []
    for module in modules:
        group = [one for candidates in drawn.rooms.values() for one in candidates if is_in(one[0].module, module)]
        if not group:
            raise UserError(f"{module} is no module or folder of the package with a place to break.")
        if not any(is_in(one, module) for one in broken):
            groups.append(group)
    covered = {module.split("/")[0] for module in (*broken, *modules)}
    return groups + [candidates for room, candidates in drawn.rooms.items() if room not in covered]


def _surplus(drawn: Draw, kept: Kept, shares: Mapping[str, int], modules: Sequence[str]) -> int:
    """The id of one of the room furthest above its share."""
    above = Counter(place.room for place, _ in kept.values())
    above.subtract(shares)
    free = {key: place.room for key, (place, _) in kept.items() if not any(is_in(place.module, one) for one in modules)}
    room = max(free.values(), key=lambda room: (above[room], room))
    return drawn.source.choice([key for key in free if free[key] == room])


def is_in(module: str, place: str) -> bool:
    """Whether the module is the place or lies in that folder."""
    return module == place or module.startswith(f"{place}/")
