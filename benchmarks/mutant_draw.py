"""Draws mutants over all rooms: one a room at least, the rest by its lines, and of each kind about as many."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from mutant_kinds import Change, changes_of
from mutant_places import Place, Places

Candidate = tuple[Place, Change]


def draw(places: Places, number: int, seed: int) -> list[dict[str, Any]]:
    """The entries of the list, in the order of modules. No function is broken twice."""
    source = random.Random(seed)
    rooms: dict[str, list[Candidate]] = {}
    for place in places.all:
        changes = changes_of(place.statement)
        if changes:
            rooms.setdefault(place.room, []).extend((place, change) for change in changes)
    shares = shares_of({room: _num_lines(candidates) for room, candidates in rooms.items()}, number)
    turns = [room for room, share in shares.items() for _ in range(share)]
    source.shuffle(turns)
    kinds: Counter[str] = Counter()
    ways: Counter[tuple[str, str]] = Counter()
    chosen: list[Candidate] = []
    for room in turns:
        used = {(place.module, place.function) for place, _ in chosen}
        left = [one for one in rooms[room] if (one[0].module, one[0].function) not in used]
        if not left:
            continue
        kind = min({change.kind for _, change in left}, key=lambda kind: (kinds[kind], kind))
        way = min({change.way for _, change in left if change.kind == kind}, key=lambda way: (ways[kind, way], way))
        chosen.append(source.choice([one for one in left if (one[1].kind, one[1].way) == (kind, way)]))
        kinds[kind] += 1
        ways[kind, way] += 1
    chosen.sort(key=lambda one: (one[0].module, one[0].statement.lineno))
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
