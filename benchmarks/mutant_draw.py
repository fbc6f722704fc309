"""Draws mutants over all rooms: one a room at least, the rest by its lines, and of each kind about as many."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mutant_kinds import Change, changes_of
from mutant_places import Place, Places

Candidate = tuple[Place, Change]


class Draw:
    """Takes candidates by a seed. chosen: those taken so far, and those that were there before."""

    def __init__(self, places: Places, seed: int, chosen: Sequence[Candidate] = ()) -> None:
        self.source = random.Random(seed)
        self.rooms: dict[str, list[Candidate]] = {}
        for place in places.all:
            changes = changes_of(place.statement)
            if changes:
                self.rooms.setdefault(place.room, []).extend((place, change) for change in changes)
        self.chosen = list(chosen)

    def shares(self, number: int) -> dict[str, int]:
        """How many of `number` mutants each room has."""
        return shares_of({room: _num_lines(candidates) for room, candidates in self.rooms.items()}, number)

    def take(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """One of the kind, and of the way, that was taken least. None where every function is broken already."""
        used = {(place.module, place.function) for place, _ in self.chosen}
        left = [one for one in candidates if (one[0].module, one[0].function) not in used]
        if not left:
            return None
        kinds = Counter(change.kind for _, change in self.chosen)
        ways = Counter((change.kind, change.way) for _, change in self.chosen)
        kind = min({change.kind for _, change in left}, key=lambda kind: (kinds[kind], kind))
        way = min({change.way for _, change in left if change.kind == kind}, key=lambda way: (ways[kind, way], way))
        taken = self.source.choice([one for one in left if (one[1].kind, one[1].way) == (kind, way)])
        self.chosen.append(taken)
        return taken


def draw(places: Places, number: int, seed: int) -> list[dict[str, Any]]:
    """The entries of the list, in the order of modules. No function is broken twice."""
    drawn = Draw(places, seed)
    turns = [room for room, share in drawn.shares(number).items() for _ in range(share)]
    drawn.source.shuffle(turns)
    for room in turns:
        drawn.take(drawn.rooms[room])
    chosen = sorted(drawn.chosen, key=lambda one: (one[0].module, one[0].statement.lineno))
    return [entry(number, *one) for number, one in enumerate(chosen, start=1)]


def entry(number: int, place: Place, change: Change) -> dict[str, Any]:
    return {
        "id": number,
        "kind": change.kind,
        "module": place.module,
        "function": place.function,
        "occurrence": place.occurrence,
        "before": place.text,
        "after": change.after,
    }


def shares_of(lines: dict[str, int], number: int) -> dict[str, int]:
    """One a room, the rest in proportion to the lines, by largest remainders."""
    rest = number - len(lines)
    total = sum(lines.values())
    exact = {room: rest * count / total for room, count in lines.items()}
    shares = {room: 1 + int(share) for room, share in exact.items()}
    by_remainder = sorted(exact, key=lambda room: (int(exact[room]) - exact[room], room))
    for room in by_remainder[: number - sum(shares.values())]:
        shares[room] += 1
    return shares


def _num_lines(candidates: list[Candidate]) -> int:
    """The lines of a room's functions that can be broken."""
    return sum(
        len(lines) for lines in {(one.module, one.function): one.function_lines for one, _ in candidates}.values()
    )
