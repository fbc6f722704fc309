"""What the recall of an index means, in words."""

from __future__ import annotations

from shelfmark.core.terminal import percent
from shelfmark.retrieval.effort import EFFORT, PROMISED, Promise
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.recall import PLACES


def told_promise(index: Index, promise: Promise) -> str:
    """A sentence on the recall that was measured as the index was built; and where it is low, what would raise it."""
    layout, measured = index.layout, promise.measured
    name, parameters = EFFORT[layout.kind], layout.parameters
    told = (
        f"recall@{PLACES} {percent(measured.value)} (standard error {percent(measured.error)}) with {name}="
        f"{parameters[name]}, measured by exact search of {measured.num_queries:,} queries"
    )
    if promise.is_kept:
        return f"{told}; {percent(PROMISED)} is promised"
    if layout.kind == "ivf_flat":
        # All lists are read, so it finds all; a sample of a few queries cannot show it.
        return told
    times = 4 * index.dim / parameters["num_bytes"]
    return (
        f"note: {told}. {percent(PROMISED)} cannot be reached: to read all {parameters['num_lists']:,} lists finds"
        f" hardly more, because a vector is compressed to {parameters['num_bytes']} bytes. --kind ivf_flat reaches"
        f" it, with {times:.0f} times the memory"
    )
