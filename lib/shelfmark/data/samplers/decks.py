"""Images for visits of classes, from shuffled decks."""

from __future__ import annotations

import numpy as np

from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.shuffle import shuffled_within


def dealt_visits(groups: Groups, visits: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """`size` rows for each visit of a class: (visits, size) int64.

    visits: (visits,) classes that have images. Each class deals its images K at a time from shuffled decks of its own,
    so none comes again before its deck is used up; less than K cards may stay behind. A class with fewer than K
    images repeats them within the visit.
    """
    visits_per_deck = np.maximum(groups.counts // size, 1)
    num_visits = np.bincount(visits, minlength=len(groups.counts))
    num_decks = -(-num_visits // visits_per_deck)
    deck_classes = np.repeat(np.arange(len(num_decks)), num_decks)
    cards, deck_starts = _decks(groups, deck_classes, generator)

    earlier = _earlier_visits(visits, num_visits)
    deck = (np.cumsum(num_decks) - num_decks)[visits] + earlier // visits_per_deck[visits]
    first_card = earlier % visits_per_deck[visits] * size
    place = (first_card[:, None] + np.arange(size)) % groups.counts[visits][:, None]
    return cards[deck_starts[deck][:, None] + place]


def _decks(groups: Groups, classes: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of `classes` all its rows, shuffled: (cards, where each deck starts in them)."""
    sizes = groups.counts[classes]
    starts = np.cumsum(sizes) - sizes
    deck_of_card = np.repeat(np.arange(len(classes)), sizes)
    shuffled = shuffled_within(deck_of_card, generator)
    return groups.rows[shuffled + (groups.starts[classes] - starts)[deck_of_card]], starts


def _earlier_visits(visits: np.ndarray, num_visits: np.ndarray) -> np.ndarray:
    """How many earlier visits each visit's class had: (visits,)."""
    by_class = np.argsort(visits, kind="stable")
    earlier = np.empty_like(visits)
    earlier[by_class] = np.arange(len(visits)) - np.repeat(np.cumsum(num_visits) - num_visits, num_visits)
    return earlier
