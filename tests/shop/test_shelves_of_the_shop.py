"""Shelves of the shop: frozen, with boxes that are those of the packs, and SKUs that are never trained."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from shelfmark.core.files import sha256_json
from shelfmark.data.annotations import read_annotations
from shelfmark.pipelines.prepare import prepare
from shelfmark.shop import catalogue, shelves
from shelfmark.shop.shelves import SIDE_PX, novel_labels, shelf

# Frozen with the pictures: figures in docs/shelves.md were measured on them.
BOXES_SHA256 = "1660c387f7f151196b43367eb339902b38d88bba0dba4d8bc7842ff570b1830f"
MEAN_COLOR = (109.0, 96.4, 94.7, 90.2, 120.2, 89.9, 99.7)


@pytest.fixture(scope="module")
def first() -> tuple[np.ndarray, list[shelves.TrueBox]]:
    data, boxes = shelf(0, "test", 0)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), boxes


def test_a_photograph_and_its_boxes_never_change(first: tuple[np.ndarray, list[shelves.TrueBox]]) -> None:
    pixels, boxes = first
    assert sha256_json([[one.label, *one.box] for one in boxes]) == BOXES_SHA256
    middle = SIDE_PX // 2
    rows, columns = (slice(None, middle), slice(middle, None)), (slice(None, middle), slice(middle, None))
    found = [*pixels.mean((0, 1)), *(pixels[row, column].mean() for row in rows for column in columns)]
    # Another release of OpenCV may round otherwise, and nobody sees it.
    assert np.array(found) == pytest.approx(np.array(MEAN_COLOR), abs=0.6)


def test_a_box_holds_its_pack_and_nothing_of_it_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the photograph with its packs, that of the empty shelf: they differ in the boxes, to their edges."""
    monkeypatch.setattr(shelves, "photographed", lambda rng, picture: picture)
    monkeypatch.setattr(shelves, "jpeg", lambda rng, picture: picture)
    monkeypatch.setattr(shelves, "shadowed", lambda picture, *_: picture)
    full, boxes = shelf(0, "val", 3)
    with monkeypatch.context() as patched:
        patched.setattr(shelves, "_filled", lambda rng, seed, split, picture, row, light: (picture, []))
        empty, _ = shelf(0, "val", 3)
    differs = (np.abs(full.astype(int) - empty).max(axis=2) > 12).astype(np.uint8)
    inside = np.zeros_like(differs)
    for _, (x, y, width, height) in boxes:
        inside[y : y + height, x : x + width] = 1
        part = differs[y : y + height, x : x + width]
        # Round and folded packs leave corners free, and all reach all four edges nearly.
        assert part.mean() > 0.55
        left, top, across, down = cv2.boundingRect(part)
        assert max(left, top, width - left - across, height - top - down) <= 4
    assert differs[inside == 0].mean() < 0.01


def test_boxes_do_not_overlap_and_lie_inside(first: tuple[np.ndarray, list[shelves.TrueBox]]) -> None:
    _, boxes = first
    assert len(boxes) > 25
    covered = np.zeros((SIDE_PX, SIDE_PX), np.int64)
    for _, (x, y, width, height) in boxes:
        assert 0 <= x < x + width <= SIDE_PX
        assert 0 <= y < y + height <= SIDE_PX
        covered[y : y + height, x : x + width] += 1
    assert covered.max() == 1


def test_never_trained_skus_stand_in_val_and_others_in_test_and_none_in_train() -> None:
    num_trained = len(catalogue(0).trained)
    val, test = set(novel_labels(0, "val")), set(novel_labels(0, "test"))
    assert not val & test
    assert val | test == set(range(num_trained, num_trained + len(catalogue(0).novel)))
    assert novel_labels(0, "train") == []
    families = [{shelves.skus_of(0)[label].family.name for label in part} for part in (val, test)]
    assert not families[0] & families[1]


def test_the_folder_is_whole_reads_without_a_finding_and_is_made_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shelves, "PHOTOGRAPHS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(shelves, "ProcessPoolExecutor", InThisProcess)
    root = tmp_path / "shelves"
    prepare("shop_shelves", None, root)
    tables = {name: read_annotations(root / f"{name}.json", root) for name in ("train", "val", "test")}
    assert (tables["train"].num_classes, tables["test"].num_classes) == (120, 160)
    assert tables["test"].class_names[:120] == tables["train"].class_names
    images = json.loads((root / "boxes.json").read_text())["images"]
    assert [one["bbox"] for one in images] == tables["test"].boxes.tolist()
    before = (root / "train.json").stat().st_mtime_ns
    assert prepare("shop_shelves", None, root) == {"folder": root}
    assert (root / "train.json").stat().st_mtime_ns == before


class InThisProcess:
    """Draws here: a process more costs seconds, and what it draws is the same."""

    def __init__(self, *_: object, **__: object) -> None:
        self.map = lambda work, tasks, chunksize: map(work, tasks)

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass
