"""A discovery run of one round on a handful of pictures, written file by file as its stages would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.strings import Strings
from shelfmark.discovery.rounds import Selection
from shelfmark.pipelines.discover.files import (
    ClustersFile,
    EmbeddedSet,
    RunFiles,
    SetsFile,
    write_arrays,
)

NAMES = ("Oat milk", "Rye bread", "Blue tea", "Jam", "Soap", "Salt", "Rice", "Dates")
KNOWN, VAL = (4, 0), (6, 7)
"""Class 0 of the model is Soap, class 1 is Oat milk."""

DIM = len(NAMES)


@dataclass
class Picture:
    """category: of NAMES. vector: by default the axis of its class. cluster, label: of an unlabelled one."""

    category: int
    role: EmbeddedSet
    cluster: int = -1
    label: int = -1
    density: float = 0.5
    vector: tuple[float, ...] = ()
    row: int = field(default=-1)


def pictures() -> list[Picture]:
    """Two known classes, two new ones in the pool; cluster 3 joined Soap, 7 and 2 are new, 5 is not selected."""
    labelled = [Picture(category, "labelled") for category in KNOWN for _ in range(3)]
    others = [Picture(category, "val") for category in VAL for _ in range(3)]
    others += [Picture(category, "test") for category in (1, 3) for _ in range(2)]
    pool = [
        *(Picture(2, "unlabelled", 7, 3, density) for density in (0.9, 0.7, 0.8, 0.6)),
        Picture(2, "unlabelled", 7, -1, 0.1),
        *(Picture(5, "unlabelled", 2, 2, 0.75) for _ in range(2)),
        Picture(0, "unlabelled", 2, 2, 0.72),
        *(Picture(4, "unlabelled", 3, 0, 0.95) for _ in range(2)),
        Picture(5, "unlabelled", 5, -1, 0.2),
    ]
    return [*labelled, *others, *pool]


def write_run(
    folder: Path, images: Sequence[Picture], number: int = 0, has_truth: bool = True, has_names: bool = True
) -> RunFiles:
    """The files of round `number` up to its selection; the same images again add another round."""
    root = folder / "images"
    root.mkdir(parents=True, exist_ok=True)
    for row, image in enumerate(images):
        image.row = row
        path = root / f"{row}.png"
        if not path.exists():
            Image.new("RGB", (12, 8), colour(image.category, row)).save(path)
    annotations = folder / "discovery.json"
    annotations.write_text(json.dumps(_document(images, has_truth, has_names)))
    run = RunFiles(folder / "log" / "round_trip")
    run.folder.mkdir(parents=True, exist_ok=True)
    table_sha256 = hashlib.sha256(annotations.read_bytes()).hexdigest()
    roles: tuple[EmbeddedSet, ...] = ("labelled", "unlabelled", "val", "test")
    rows = {role: np.array([image.row for image in images if image.role == role], np.int64) for role in roles}
    counts = {role: len(of_role) for role, of_role in rows.items()}
    run.write_sets(
        SetsFile(str(annotations), table_sha256, str(root), (), KNOWN, VAL, False, counts, {}, has_truth), rows
    )
    for role in roles:
        if len(rows[role]):
            _embed(run, number, role, [images[row] for row in rows[role]])
    pool = [image for image in images if image.role == "unlabelled"]
    clusters = np.array([image.cluster for image in pool], np.int64)
    density = np.array([image.density for image in pool], np.float32)
    labels = np.array([image.label for image in pool], np.int64)
    write_arrays(run.clusters(number), ClustersFile(rows["unlabelled"], clusters, density))
    selected_in = np.where(labels >= 0, number, -1)
    write_arrays(run.selection(number), Selection(rows["unlabelled"], labels, clusters, density, selected_in))
    return run


def finish(run: RunFiles, number: int = 0) -> None:
    """Marks the round as done."""
    file = run.stage(number, "report") / "manifest.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")


def colour(category: int, shade: int) -> tuple[int, int, int]:
    return (30 * category + shade % 5, 250 - 30 * category, 90 * (category % 3))


def _document(images: Sequence[Picture], has_truth: bool, has_names: bool) -> dict[str, object]:
    records = []
    for image in images:
        is_labelled = image.role != "unlabelled"
        record: dict[str, object] = {"fpath": f"{image.row}.png", "role": image.role}
        record["category_id"] = image.category if is_labelled else None
        if has_truth and not is_labelled:
            record["true_category_id"] = image.category
        records.append(record)
    document: dict[str, object] = {"annotations": records, "num_classes": len(NAMES)}
    return {**document, "class_names": NAMES} if has_names else document


def _embed(run: RunFiles, number: int, role: EmbeddedSet, images: Sequence[Picture]) -> None:
    vectors = []
    for image in images:
        vector = (
            np.array(image.vector, np.float32) if len(image.vector) else np.eye(DIM, dtype=np.float32)[image.category]
        )
        # A little of its own, so that no two images are the same.
        own = np.full(DIM, 0.01 * (1 + image.row % 3), np.float32)
        vectors.append(3 * (vector + own))
    labels = np.array([-1 if image.role == "unlabelled" else image.category for image in images], np.int64)
    names = Strings.of(f"{image.row}.png" for image in images)
    rows = np.array([image.row for image in images], np.int64)
    write_embeddings(run.embedded(number, role), Embeddings(np.stack(vectors), labels, names, names, {}, rows))
