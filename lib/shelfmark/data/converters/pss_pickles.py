"""The pickles of PSS and Hi-LANDER: features and clusters. Legend: N images, D embedding.

features, clusters: [{path: row}, features (N, D) float32, labels (N,), labels (N,), masks (N,)]
features, too:      [features (N, D), labels (N,)]

A mask is 0 for a labelled picture, 1 for one selected in this round, 2 for one not selected. In a clusters file the
first labels are those of the next round's training, -1 for none. In a features file both are the data set's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import sha256_file
from shelfmark.core.strings import Strings
from shelfmark.data.converters.inaturalist import PICTURES
from shelfmark.data.converters.prepared import Prepared, write_new
from shelfmark.data.documents import annotations_json
from shelfmark.data.pickles import read_pickle

WHERE = "Give a pickle file that PSS or Hi-LANDER wrote as --source."
TRAINED, SELECTED, LEFT = 0, 1, 2
_SHAPE = "[path -> row, features, labels, labels, masks], or [features, labels]"


@dataclass(frozen=True)
class PssPickle:
    """paths: of each row. features: (N, D) float32. labels, further_labels, masks: (N,) int64."""

    paths: list[str]
    features: np.ndarray
    labels: np.ndarray
    further_labels: np.ndarray
    masks: np.ndarray


def prepare_pss_features(source: Path, out: Path) -> Prepared:
    """Writes a features pickle as embeddings to `out`; with masks, as `out`/labelled and `out`/unlabelled."""
    content = read_pss_pickle(Path(source))
    manifest = {"source": "pss", "pickle_sha256": sha256_file(Path(source))}
    parts = {Path(out): np.arange(len(content.paths))}
    if (content.masks != TRAINED).any():
        trained = content.masks == TRAINED
        parts = {Path(out) / "labelled": np.flatnonzero(trained), Path(out) / "unlabelled": np.flatnonzero(~trained)}
    _require_new(parts)
    for folder, rows in parts.items():
        if len(rows):
            strings = Strings.of([content.paths[row] for row in rows])
            write_embeddings(
                folder, Embeddings(content.features[rows], content.labels[rows], strings, strings, manifest, rows)
            )
    files = {folder: _told(content.labels[rows], content.features) for folder, rows in parts.items() if len(rows)}
    notes = ["the labels are numbers of this pickle alone: another one's may mean other classes."]
    if (content.labels != content.further_labels).any():
        notes.append("its two rows of labels differ; the embeddings have the first.")
    options: dict[str, Path | str] = {"--embeddings": next(iter(files)), "--out": "log/clusterer"}
    return Prepared(files, options, tuple(notes))


def prepare_pss_clusters(source: Path, out: Path) -> Prepared:
    """Writes a clusters pickle as training annotations to `out`/train.json.

    Labelled pictures have the role labelled. A selected picture has the role unlabelled, its pseudo-class as
    category_id, and the source pseudo. Pictures that were not selected follow, without a category. Classes are numbered
    anew.
    """
    content = read_pss_pickle(Path(source))
    used = content.labels >= 0
    if not used.any():
        raise UserError(f"{source} gives no image a label; it is no clusters pickle. Is it one of features?")
    numbers, labels = np.unique(content.labels[used], return_inverse=True)
    category = np.full(len(used), -1)
    category[used] = labels
    records = [_record(content, row, int(category[row])) for row in [*np.flatnonzero(used), *np.flatnonzero(~used)]]
    file = Path(out) / "train.json"
    write_new({file: annotations_json(records, len(numbers), [str(number) for number in numbers])})
    counts = [int((content.masks[used] == mask).sum()) for mask in (TRAINED, SELECTED)]
    told = (
        f"{counts[0]:,} labelled and {counts[1]:,} selected images in {len(numbers):,} classes, {(~used).sum():,} more"
    )
    notes = (
        "what an earlier round selected is among the labelled images: the pickle has no more than that of them.",
        "class names are the numbers of the pickle.",
    )
    return Prepared({file: told}, {"data.train_json": file}, notes)


def read_pss_pickle(file: Path) -> PssPickle:
    """The content of a pickle, checked; it runs nothing. A UserError says what is not as expected."""
    if not file.is_file():
        raise UserError(f"--source {file} is not a file: name one pickle of PSS or Hi-LANDER.")
    with open(file, "rb") as stream:
        value = read_pickle(stream, str(file))
    if not isinstance(value, list | tuple) or len(value) not in (2, 5):
        raise UserError(f"{file} holds {_kind(value)}; expected {_SHAPE}.")
    features = _matrix(value[0 if len(value) == 2 else 1], file)
    rows = len(features)
    paths = [str(row) for row in range(rows)] if len(value) == 2 else _paths(value[0], rows, file)
    vectors = [value[1], value[1], np.zeros(rows, np.int64)] if len(value) == 2 else value[2:]
    labels, further, masks = (_whole(one, rows, name, file) for one, name in zip(vectors, ("labels",) * 2 + ("masks",)))
    if not np.isin(masks, (TRAINED, SELECTED, LEFT)).all():
        raise UserError(f"{file} has masks other than 0 (labelled), 1 (selected) and 2 (not selected).")
    return PssPickle(paths, features, labels, further, masks)


def _matrix(value: Any, file: Path) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 2 or array.dtype.kind != "f" or not len(array):
        raise UserError(f"{file}: its features are {array.dtype} of shape {array.shape}, not numbers of (N, D).")
    if not np.isfinite(array).all():
        raise UserError(f"{file}: its features are not all finite numbers. Extract them again.")
    return array.astype(np.float32, copy=False)


def _paths(value: Any, num_rows: int, file: Path) -> list[str]:
    """The path of each row. A copy of the original's list has `train_val2018/` behind its author's folders."""
    if not isinstance(value, Mapping) or sorted(value.values()) != list(range(num_rows)):
        raise UserError(f"{file}: its paths are not a dict that gives each of {num_rows} rows one path.")
    ordered = sorted(value, key=lambda path: value[path])
    return [str(path)[max(0, str(path).find(PICTURES)) :] for path in ordered]


def _whole(value: Any, num_rows: int, name: str, file: Path) -> np.ndarray:
    array = np.asarray(value)
    if array.shape != (num_rows,) or array.dtype.kind not in "iufb" or (array != np.trunc(array)).any():
        raise UserError(f"{file}: its {name} are {array.dtype} of shape {array.shape}, not {num_rows} whole numbers.")
    return array.astype(np.int64)


def _record(content: PssPickle, row: int, category: int) -> dict[str, object]:
    record: dict[str, object] = {"category_id": None if category < 0 else category, "fpath": content.paths[row]}
    if content.masks[row] == TRAINED and category >= 0:
        return {**record, "role": "labelled"}
    return {**record, "role": "unlabelled", **({"source": "pseudo"} if category >= 0 else {})}


def _require_new(folders: Mapping[Path, np.ndarray]) -> None:
    there = [str(folder) for folder in folders if folder.exists() and any(folder.iterdir())]
    if there:
        raise UserError(f"{', '.join(there)}: there already. Remove what is not needed, or give another --out.")


def _told(labels: np.ndarray, features: np.ndarray) -> str:
    return f"{len(labels):,} embeddings of {features.shape[1]} numbers, {len(np.unique(labels)):,} labels"


def _kind(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
