"""An index laid out anew from its own vectors, so that removed ones take no room and later ones are found as well."""

from __future__ import annotations

from dataclasses import replace

from shelfmark.core.terminal import percent
from shelfmark.retrieval.effort import PROMISED
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_check import check_recall
from shelfmark.retrieval.stores import MilvusStore, new_store

_GROWTH = 4


def reason_to_compact(index: Index) -> str | None:
    """What the index gains if it is laid out anew, in a few words; None: nothing, or its kind cannot be."""
    kind, store = index.layout.kind, index.store
    if kind not in ("hnsw", "ivf_flat") or isinstance(store, MilvusStore):
        # flat has neither removed vectors nor a layout; ivf_pq has lost what new lists would be learned from; Milvus
        # lays its vectors out itself.
        return None
    if kind == "hnsw":
        return f"{store.num_dead:,} removed vectors take room" if store.num_dead else None
    if not len(index):
        return None
    trained = index.layout.num_trained
    if not trained <= _GROWTH * len(index) <= _GROWTH**2 * trained:
        return f"the lists were laid out for {trained:,} vectors and hold {len(index):,}"
    found = check_recall(index).overall
    if found is None:
        return None
    if index.promise is None and found.lower < PROMISED:
        return f"its recall is {percent(found.value)}, and an index of today promises {percent(PROMISED)}"
    if index.promise is not None and found.upper < index.promise.promised:
        return f"its recall is {percent(found.value)}, below the {percent(index.promise.promised)} of its build"
    return None


def compacted(index: Index) -> Index:
    """An index of the same kind and rows, of which `reason_to_compact` gave a reason. All vectors are held at once."""
    layout = index.layout
    parameters = layout.parameters if layout.kind == "hnsw" else None
    if not len(index):
        empty = replace(layout, num_trained=0)
        return Index(new_store(empty, index.dim, seed=0), index.records, index.facts)
    # The vectors have length 1 already where the metric is cosine: to divide them again would change last digits.
    metric = "dot" if layout.metric == "cosine" else layout.metric
    made = Index.build(
        index.vectors(), index.records, kind=layout.kind, metric=metric, parameters=parameters, facts=index.facts
    )
    made.store.layout = replace(made.store.layout, metric=layout.metric)
    return made
