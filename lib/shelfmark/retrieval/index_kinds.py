"""The kinds of index, which one suits a size, and what each is built with. Legend: N vectors, D embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping

from shelfmark.core.errors import UserError, choose

KINDS = ("flat", "hnsw", "ivf_flat", "ivf_pq")
DATABASE_KINDS = ("flat", "hnsw")
"""The kinds that a database of vectors holds."""
MB, GB = 10**6, 10**9
MOST_FLAT_BYTES, MOST_HNSW_BYTES, MOST_IVF_FLAT_BYTES = 100 * MB, 1 * GB, 8 * GB
"""The largest size of the vectors, N x D x 4 bytes, for which each kind is chosen."""

PQ_CENTRES = 256
"""The number of centres for each part of a vector: one byte names a centre."""
# faiss numbers the nodes of its graph by int32.
_MOST_NODES = 2**31 - 1
# k-means asks for at least 39 vectors a centre.
_FEWEST_PER_LIST = 39
_WIDEST_PART = 16


def choose_kind(num_vectors: int, dim: int, in_database: bool = False) -> tuple[str, str]:
    """The kind that suits N vectors of D dimensions, and the reason in a sentence.

    in_database: of the kinds that a database of vectors holds.
    """
    size = 4 * num_vectors * dim
    told = f"{num_vectors:,} vectors of {dim} dimensions take {_text(size)}"
    if size <= MOST_FLAT_BYTES:
        return "flat", f"{told}, at most {_text(MOST_FLAT_BYTES)}: to compare all of them is exact and quick"
    if in_database:
        return "hnsw", f"{told}, more than {_text(MOST_FLAT_BYTES)}: a graph over them misses little"
    if size <= MOST_HNSW_BYTES:
        return "hnsw", f"{told}, at most {_text(MOST_HNSW_BYTES)}: a graph over them misses the least of what is quick"
    if size <= MOST_IVF_FLAT_BYTES:
        return "ivf_flat", f"{told}, at most {_text(MOST_IVF_FLAT_BYTES)}: lists are built sooner than a graph"
    return "ivf_pq", f"{told}, more than {_text(MOST_IVF_FLAT_BYTES)}: only compressed ones fit into ordinary memory"


def parameters_for(kind: str, num_vectors: int, dim: int, chosen: Mapping[str, int] | None = None) -> dict[str, int]:
    """The parameters of an index of N vectors: the defaults of its kind, with those of `chosen` in their place.

    hnsw: links a node, ef_construction and ef_search candidates. ivf_flat: num_lists about 4 sqrt(N), of which
    num_probes are read for a query. ivf_pq: also num_bytes, the length of a compressed vector.
    Raises UserError where the kind cannot hold such vectors.
    """
    choose("kind", kind, KINDS)
    parameters: dict[str, int] = {}
    if kind == "hnsw":
        parameters = {"links": 32, "ef_construction": 100, "ef_search": 100}
    if kind.startswith("ivf"):
        num_lists = 2 ** round(math.log2(4 * math.sqrt(max(1, num_vectors))))
        num_lists = max(1, min(num_lists, num_vectors // _FEWEST_PER_LIST))
        parameters = {"num_lists": num_lists, "num_probes": min(num_lists, max(8, num_lists // 64))}
    if kind == "ivf_pq":
        parameters["num_bytes"] = _num_bytes(dim)
        if num_vectors < PQ_CENTRES:
            raise UserError(
                f"kind=ivf_pq learns {PQ_CENTRES} centres and needs as many vectors; there are {num_vectors}."
                " Take kind=flat: it is exact."
            )
    for name, value in (chosen or {}).items():
        parameters[choose(f"parameter of kind={kind}", name, parameters)] = value
    return parameters


def check_room(kind: str, num_nodes: int) -> None:
    """Raises UserError where the kind cannot count so many vectors."""
    if kind == "hnsw" and num_nodes > _MOST_NODES:
        raise UserError(f"kind=hnsw holds at most {_MOST_NODES:,} vectors, not {num_nodes:,}. Take kind=ivf_pq.")


def _num_bytes(dim: int) -> int:
    """The vector is cut into equal parts, of two dimensions where 256 suffice, and a byte stands for each part."""
    most = min(max(1, dim // 2), 256)
    found = next(number for number in range(most, 0, -1) if dim % number == 0)
    if dim / found > _WIDEST_PART:
        raise UserError(
            f"kind=ivf_pq cuts vectors into equal parts of at most {_WIDEST_PART} dimensions, and {dim} dimensions"
            " cannot be cut so. Take kind=ivf_flat, or a model with another embedding, as model.embedding_dim=512."
        )
    return found


def _text(size: int) -> str:
    unit, name = next((pair for pair in ((GB, "GB"), (MB, "MB")) if size >= pair[0]), (1000, "kB"))
    return f"{size / unit:.3g} {name}"
