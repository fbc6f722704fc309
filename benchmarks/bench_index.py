"""Build time, size, latency and recall@10 of each kind of index, on generated vectors.

    make bench-index
    python benchmarks/bench_index.py --scale 0.02 --spread 2 --kinds flat,ivf_flat

Legend: N vectors, D dimensions, Q queries.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from measuring import add_out, made_by, versions, write_page

from shelfmark.core.strings import Strings
from shelfmark.retrieval.effort import EFFORT
from shelfmark.retrieval.index import Index, Records
from shelfmark.retrieval.index_files import write_index
from shelfmark.retrieval.index_kinds import KINDS, parameters_for

Result = TypeVar("Result")

NUM_VECTORS, DIM, NUM_QUERIES, K = 1_000_000, 128, 1000, 10
NUM_SINGLE = 100
IMAGES_PER_CLASS = 50
SPREAD = 1.2
"""Of the vectors about their class's centre, in lengths of the centre."""
MB = 10**6
FIXED = ", fixed"
"""Behind the name of a kind: with the parameters that follow from the size alone, as before there was a trial."""

METHOD = f"""\
N made-up float32 vectors of length 1 and {DIM} dimensions, {IMAGES_PER_CLASS} a class on average, each class about a
centre of its own (noise of {{spread}} of the centre's length); Q={NUM_QUERIES} further ones of the same classes as
queries; cosine, k={K}. Build: centres and all additions. Size: of the folder with ids, labels and paths. Latency: of
a single query, the median over {NUM_SINGLE} of them; and of all in one call, a query. Recall@{K}: the part of flat's
{K} neighbours that are found. Parameters are the defaults of each size, and how much a search reads is found by the
build, by a trial; where the kind is called fixed, that follows from the size too.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help=f"part of the {NUM_VECTORS:,} vectors to take")
    parser.add_argument("--kinds", default=",".join(KINDS), help="those to measure (default: all)")
    parser.add_argument("--spread", type=float, default=SPREAD, help="of a class, in lengths of its centre")
    add_out(parser)
    options = parser.parse_args()
    write_page(page(round(options.scale * NUM_VECTORS), options.kinds.split(","), options.spread), options.out)


def page(num_vectors: int, kinds: Sequence[str], spread: float) -> Iterator[str]:
    """The lines of the result: what was measured, on what, and the table."""
    yield "# Index: build time, size, latency and recall"
    yield ""
    yield made_by()
    yield f"N={num_vectors:,}. Versions: {versions('torch', 'numpy', 'faiss-cpu')}."
    yield ""
    yield METHOD.format(spread=spread)
    yield f"| kind | parameters | build | size | one query | in a batch | recall@{K} |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    vectors, labels, query = gallery(num_vectors, spread)
    numbers = range(num_vectors)
    records = Records(Strings.of(map(str, numbers)), labels, Strings.of(f"train/{number:07}.jpg" for number in numbers))
    _, right = Index.build(vectors, records, kind="flat").search(query, K)
    for kind in kinds:
        fixed = parameters_for(kind, num_vectors, DIM)
        for parameters in (None, fixed) if kind in EFFORT else (None,):
            yield row(kind, parameters, vectors, records, query, right)


def row(
    kind: str,
    fixed: Mapping[str, int] | None,
    vectors: np.ndarray,
    records: Records,
    query: np.ndarray,
    right: np.ndarray,
) -> str:
    """One line of the table. fixed: parameters in place of those of a trial. right: (Q, K) exact neighbours."""
    build_s, index = timed(lambda: Index.build(vectors, records, kind=kind, parameters=fixed))
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder) / "index", index)
        num_bytes = sum(file.stat().st_size for file in (Path(folder) / "index").iterdir())
    index.search(query[:1], K)
    single_s = statistics.median(timed(lambda one=one: index.search(one, K))[0] for one in query[:NUM_SINGLE, None])
    batch_s, (_, found) = timed(lambda: index.search(query, K))
    hits = sum(len(set(ours) & set(exact)) for ours, exact in zip(found.tolist(), right.tolist()))
    parameters = ", ".join(f"{name}={value}" for name, value in index.layout.parameters.items())
    name = kind + (FIXED if fixed else "")
    return (
        f"| {name} | {parameters} | {build_s:,.1f} s | {num_bytes / MB:,.0f} MB | {1000 * single_s:.2f} ms "
        f"| {1000 * batch_s / len(query):.2f} ms | {hits / right.size:.4f} |"
    )


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of a call, and what it returned."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def gallery(num_vectors: int, spread: float = SPREAD) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, D) vectors, their (N,) labels, and (Q, D) queries."""
    generator = np.random.default_rng(0)
    num_classes = max(1, num_vectors // IMAGES_PER_CLASS)
    centres = generator.standard_normal((num_classes, DIM), dtype=np.float32) / DIM**0.5
    labels = generator.integers(num_classes, size=num_vectors + NUM_QUERIES)
    rows = generator.standard_normal((len(labels), DIM), dtype=np.float32) * np.float32(spread / DIM**0.5)
    rows += centres[labels]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:num_vectors], labels[:num_vectors], rows[num_vectors:]


if __name__ == "__main__":
    main()
