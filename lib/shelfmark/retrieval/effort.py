"""How much of an index a search reads: the least that finds what is promised, by trial."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from shelfmark.retrieval.recall import ExactSample, Recall
from shelfmark.retrieval.stores.store import VectorStore

PROMISED = 0.95
"""The recall that a search shall have: 95 of 100 of the exact ten nearest."""
EFFORT = {"ivf_flat": "num_probes", "ivf_pq": "num_probes"}
"""The parameter of a kind that says how much a search reads, where a trial can tell how much it takes.

flat reads all. In the graph of hnsw a row finds itself and from there its neighbours, as no new query does: a trial by
its rows promised 95% where new queries found 93%.
"""

# What is within this of the best recall is as good.
_LEVEL = 0.005
# Between two trials that differ by less than a tenth no third one is made.
_CLOSE = 1.1


@dataclass(frozen=True)
class Promise:
    """The recall of an index as it was built. promised: PROMISED, or what was reached where even reading all is less.

    measured: by rows that had no part in laying out the lists.
    """

    promised: float
    measured: Recall

    @property
    def is_kept(self) -> bool:
        """Whether it is the recall that Shelfmark promises."""
        return self.promised >= PROMISED


def choose_effort(store: VectorStore, sample: ExactSample) -> Promise:
    """Lets the store read the least, from its present parameter on, whose recall is PROMISED with a confidence of 95%.

    Where even the most does not reach it, the least that comes as near as the most does.
    """
    name = EFFORT[store.layout.kind]
    tried: dict[int, Recall] = {}

    def at(effort: int) -> Recall:
        if effort not in tried:
            store.layout = replace(store.layout, parameters={**store.layout.parameters, name: effort})
            tried[effort] = sample.recall_of(store.search)
        return tried[effort]

    first, most = (store.layout.parameters[one] for one in (name, "num_lists"))
    failed, effort = first, first
    while at(effort).lower < PROMISED and effort < most:
        failed, effort = effort, min(2 * effort, most)
    if tried[effort].lower >= PROMISED:
        effort = _least(failed, effort, lambda one: at(one).lower >= PROMISED)
    else:
        best = tried[effort].value
        effort = _least(first, effort, lambda one: at(one).value >= best - _LEVEL)
    store.layout = replace(store.layout, parameters={**store.layout.parameters, name: effort})
    reached = tried[effort]
    promised = PROMISED if reached.lower >= PROMISED else max(0.0, math.floor(1000 * reached.lower) / 1000)
    return Promise(promised, reached)


def _least(low: int, high: int, is_enough: Callable[[int], bool]) -> int:
    """About the least number from low to high that is enough, as high is."""
    if is_enough(low):
        return low
    while high > low + 1 and high > _CLOSE * low:
        middle = round(math.sqrt(low * high))
        middle = min(max(middle, low + 1), high - 1)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
