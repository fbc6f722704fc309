"""The vectors of an index for other programs. Legend: N vectors, D embedding."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import choose
from shelfmark.core.files import atomic_path, write_text
from shelfmark.core.folders import atomic_folder
from shelfmark.core.parquet import pyarrow_for
from shelfmark.retrieval.index import Index

FORMATS = ("npy", "parquet")
COLUMNS = ("id", "label", "name", "path")


def export_vectors(index: Index, out: Path, form: str) -> None:
    """Writes the vectors, as they are compared, with ids, labels, names and paths; whole or not at all.

    npy: `out` is a folder with vectors.npy, (N, D) float32, and rows.csv, a line a vector. parquet: `out` is one file
    with the columns id, label, name, path and vector, a list of D float32.
    """
    choose("format", form, FORMATS)
    if form == "parquet":
        _write_parquet(index, out)
        return
    with atomic_folder(out, is_ours=lambda folder: False, size_bytes=len(index) * index.dim * 4) as part:
        np.save(part / "vectors.npy", index.vectors())
        text = io.StringIO()
        rows = line_feed_writer(text)
        rows.writerow(COLUMNS)
        columns = _columns(index)
        rows.writerows(zip(*(columns[name] for name in COLUMNS)))
        write_text(part / "rows.csv", text.getvalue())


def _write_parquet(index: Index, out: Path) -> None:
    pyarrow = pyarrow_for("format=parquet", "format=npy needs nothing more.")
    flat = pyarrow.array(np.ascontiguousarray(index.vectors()).reshape(-1))
    vectors = pyarrow.FixedSizeListArray.from_arrays(flat, index.dim)
    table = pyarrow.table({**_columns(index), "vector": vectors})
    with atomic_path(out) as beside:
        pyarrow.parquet.write_table(table, beside)


def _columns(index: Index) -> dict[str, list[str] | list[int]]:
    """The columns, by the names of COLUMNS. `name` is empty if the label has no name."""
    records = index.records
    labels = records.labels.tolist()
    return {
        "id": list(records.ids),
        "label": labels,
        "name": [records.names.get(label, "") for label in labels],
        "path": list(records.paths),
    }
