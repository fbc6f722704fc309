"""`shelfmark index verify --repair`: makes the database of an index and its table the same again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.locks import folder_lock
from shelfmark.core.log import say, warn
from shelfmark.core.milvus_place import Place
from shelfmark.core.wording import counted
from shelfmark.retrieval.index import Records
from shelfmark.retrieval.index_files import read_index, read_manifest, write_index
from shelfmark.retrieval.stores import MilvusStore


def repair(folder: Path, place: Place | None = None) -> None:
    """Deletes the vectors that the table does not have, and takes images without a vector out of the table.

    Those images are listed in `<folder>_lost.csv`, with their ids, labels and paths, so that they can be added again.
    place: where the database is now, if it was moved. UserError: the vectors are not in a database.
    """
    read_manifest(folder)
    with folder_lock(folder, "repairing it"):
        index = read_index(folder, place)
        store = index.store
        if not isinstance(store, MilvusStore):
            raise UserError(
                f"--repair is for an index in a Milvus; {folder} has its vectors in {store.file_name}, and what is lost"
                " there cannot be told from what is left. Build the index again."
            )
        held = store.held_ids()
        unknown = np.setdiff1d(held, store.ids)
        lost = np.flatnonzero(~np.isin(store.ids, held))
        if len(lost):
            file = folder.with_name(f"{folder.name}_lost.csv")
            write_text(file, _listed(index.records, lost))
            index.remove(lost)
            write_index(folder, index)
            warn(
                f"taken out of {folder}: {counted(len(lost), 'image')} of which the store had lost the vector. {file}"
                " lists what to add again, with `shelfmark index add`"
            )
        if len(unknown):
            store.erase(unknown)
            say(f"deleted from {store.place}: {counted(len(unknown), 'vector')} that {folder} does not have")
        if not len(lost) and not len(unknown):
            say(f"{folder} and {store.place} have the same {counted(len(index), 'vector')}: nothing is to be repaired")


def _listed(records: Records, rows: np.ndarray) -> str:
    text = io.StringIO()
    lines = line_feed_writer(text)
    lines.writerow(("id", "label", "path"))
    lines.writerows((records.ids[row], int(records.labels[row]), records.paths[row]) for row in rows.tolist())
    return text.getvalue()
