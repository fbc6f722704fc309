"""The files of a discovery run, and their readers. Legend: U unlabelled images, C known classes.

config.yaml                     the run's options
sets.json, sets.npz             the known classes' order, and how many images and classes each set has; its rows
val.json                        the class-disjoint validation, as annotations
round_<n>/train/                the training run of the round
round_<n>/train.json            its training annotations: labelled images, and those that the round before selected
round_<n>/embed/<set>/          embeddings of `labelled`, `unlabelled`, `val` and `test`
round_<n>/clusterer/            the fitted clusterer, and thresholds.json
round_<n>/clusters/clusters.npz
round_<n>/selection/            selection.npz, and names.json where a person named new classes
round_<n>/report/               report.json, index.html, cluster_sizes.png, review.csv

Every row number counts records of the discovery annotations (`discovery.annotations`), in the embeddings too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shelfmark.core.arrays import read_npz, write_npz
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, read_json, sha256_file
from shelfmark.core.manifests import check_file, file_facts, read_manifest, write_manifest
from shelfmark.data.annotations import read_annotations
from shelfmark.data.table import Table
from shelfmark.discovery.rounds import Selection

FORMAT_VERSION = 2
"""The format_version of sets.json and of the stages' manifests. Version 0.1.0 wrote neither it nor a digest."""
MANIFEST = "manifest.json"
_REMAKE = "Remove its folder and run `shelfmark discover` again."

Stage = Literal["train", "embed", "clusterer", "clusters", "selection", "report"]
STAGES: tuple[Stage, ...] = ("train", "embed", "clusterer", "clusters", "selection", "report")
EmbeddedSet = Literal["labelled", "unlabelled", "val", "test"]
EMBEDDED_SETS: tuple[EmbeddedSet, ...] = ("labelled", "unlabelled", "val", "test")


@dataclass(frozen=True)
class SetsFile:
    """The content of sets.json.

    annotations, root, extra_roots: absolute paths, as data.root and data.extra_roots. annotations_sha256: of its bytes.
    known_classes: (C,) category_id of each known class, in order: class c of a round's model is known_classes[c].
    val_classes: category ids of the class-disjoint validation. val_is_carved: no image has the role val, so these are
    labelled classes that the seed keeps apart.
    images, classes: their number in each set. has_truth: some unlabelled image has a true_category_id.
    """

    annotations: str
    annotations_sha256: str
    root: str
    extra_roots: tuple[str, ...]
    known_classes: tuple[int, ...]
    val_classes: tuple[int, ...]
    val_is_carved: bool
    images: dict[str, int]
    classes: dict[str, int]
    has_truth: bool


@dataclass(frozen=True)
class ClustersFile:
    """clusters.npz. rows: (U,) int64. clusters: (U,) int64, 0 or above. density: (U,) float32."""

    rows: np.ndarray
    clusters: np.ndarray
    density: np.ndarray

    @property
    def num_clusters(self) -> int:
        return int(self.clusters.max(initial=-1)) + 1


@dataclass(frozen=True)
class RunFiles:
    """The files of the discovery run in `folder`."""

    folder: Path

    @property
    def sets(self) -> Path:
        return self.folder / "sets.json"

    @property
    def val_json(self) -> Path:
        return self.folder / "val.json"

    def rows(self, name: EmbeddedSet) -> np.ndarray:
        """(n,) int64 rows of a set, rising."""
        file, facts = self.folder / "sets.npz", read_manifest(self.sets, unversioned=True).get("rows")
        if facts is not None:
            check_file(file, facts)
        return _arrays(file)[name]

    def round(self, number: int) -> Path:
        return self.folder / f"round_{number}"

    def stage(self, number: int, stage: Stage) -> Path:
        """The folder of a stage."""
        return self.round(number) / stage

    def manifest(self, number: int, stage: Stage) -> Path:
        """The manifest of a stage: its options and inputs. It exists once the stage is done."""
        return self.stage(number, stage) / MANIFEST

    def train_json(self, number: int) -> Path:
        return self.round(number) / "train.json"

    def model(self, number: int) -> Path:
        """The checkpoint of the round's features."""
        return self.stage(number, "train") / "best_model"

    def embedded(self, number: int, name: EmbeddedSet) -> Path:
        return self.stage(number, "embed") / name

    def thresholds(self, number: int) -> Path:
        """JSON: the selection's thresholds of density and of joining, and their expected precision."""
        return self.stage(number, "selection") / "thresholds.json"

    def clusters(self, number: int) -> Path:
        return self.stage(number, "clusters") / "clusters.npz"

    def selection(self, number: int) -> Path:
        return self.stage(number, "selection") / "selection.npz"

    def names(self, number: int) -> Path:
        """JSON: label -> name, of the pseudo-classes that a person named."""
        return self.stage(number, "selection") / "names.json"

    def report(self, number: int) -> Path:
        return self.stage(number, "report") / "report.json"

    def review(self, number: int) -> Path:
        """The table that a person edits."""
        return self.stage(number, "report") / "review.csv"

    @property
    def finished_rounds(self) -> list[int]:
        """The rounds with a finished report, from 0 up to the first without."""
        rounds: list[int] = []
        while self.manifest(len(rounds), "report").is_file():
            rounds.append(len(rounds))
        return rounds

    def read_sets(self) -> SetsFile:
        if not self.sets.is_file():
            raise UserError(
                f"{self.folder} is not a discovery run: it has no sets.json. `shelfmark discover` makes one."
            )
        told = read_manifest(self.sets, unversioned=True)
        lists = ("extra_roots", "known_classes", "val_classes")
        try:
            value = {one.name: told[one.name] for one in fields(SetsFile)}
            return SetsFile(**{**value, **{name: tuple(value[name]) for name in lists}})
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.sets} is damaged: {error}. Begin another run with name=OTHER.") from None

    def write_sets(self, sets: SetsFile, rows: Mapping[EmbeddedSet, np.ndarray]) -> None:
        file = self.folder / "sets.npz"
        _save(file, rows)
        write_manifest(self.sets, {"format_version": FORMAT_VERSION, **asdict(sets), "rows": file_facts(file)})

    @cached_property
    def table(self) -> Table:
        """The discovery annotations, all rows: paths, roles, and true labels for the report alone."""
        sets = self.read_sets()
        table = read_annotations(Path(sets.annotations), Path(sets.root), [Path(root) for root in sets.extra_roots])
        if table.sha256 != sets.annotations_sha256:
            raise UserError(
                f"{sets.annotations} is no longer what the run in {self.folder} began with, so its rows mean other"
                " images; put the former file back, or begin a run of another name."
            )
        return table

    def read_embeddings(self, number: int, name: EmbeddedSet) -> Embeddings:
        return read_embeddings(self.embedded(number, name))

    def read_clusters(self, number: int) -> ClustersFile:
        return ClustersFile(**_arrays(_as_written(self.clusters(number))))

    def read_selection(self, number: int) -> Selection:
        return Selection(**_arrays(_as_written(self.selection(number))))

    def read_names(self, number: int) -> dict[int, str]:
        """Names of pseudo-classes by their label, none where no person named one."""
        file = _as_written(self.names(number))
        return {int(label): name for label, name in read_json(file).items()} if file.is_file() else {}

    def read_thresholds(self, number: int) -> dict[str, Any]:
        return read_json(_as_written(self.thresholds(number)))


def write_arrays(file: Path, value: ClustersFile | Selection) -> None:
    """Writes an .npz whole or not at all; equal arrays give equal bytes."""
    _save(file, asdict(value))


def _save(file: Path, arrays: Mapping[Any, np.ndarray]) -> None:
    with atomic_path(file) as beside:
        write_npz(beside, arrays)


def _as_written(file: Path) -> Path:
    """`file`, after its bytes were checked against the stage's manifest. A stage in progress has no manifest yet."""
    manifest = file.with_name(MANIFEST)
    if manifest.is_file():
        given = read_manifest(manifest, unversioned=True).get("outputs", {}).get(file.name)
        if given is not None and (not file.is_file() or sha256_file(file) != given):
            raise UserError(f"{file} is damaged: it is not what {manifest} says. {_REMAKE}")
    return file


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(file, remake=_REMAKE)
    except FileNotFoundError:
        raise UserError(
            f"{file} does not exist; that stage of the run is not done. `shelfmark discover` goes on."
        ) from None
