"""Copies, blurs and wrong labels, planted in a data set whose pictures are sound: what bench_doctor.py looks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from shelfmark.core.files import read_json, write_json
from shelfmark.core.rng import numpy_generator
from shelfmark.data.documents import annotations_json
from shelfmark.data.table import Table

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
BLURRED = "blurred"
_SWAPPED, _DIVIDED, _LEAST_TO_DIVIDE = 0.05, 10, 16


@dataclass(frozen=True)
class Planted:
    """annotations: of pictures in `pictures`. copies: by kind, (original, copy) names. blurred: names.

    swapped: image ids with a wrong label. divided: pairs of classes that are one product.
    """

    pictures: Path
    annotations: Path
    copies: dict[str, list[tuple[str, str]]]
    blurred: list[str]
    swapped: list[str]
    divided: list[tuple[int, int]]


def saved_anew(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return picture


def resized(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    scale = generator.uniform(0.3, 0.8)
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def cropped(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Nine tenths of each side, anywhere."""
    height, width = (round(0.9 * side) for side in picture.shape[:2])
    top, left = (int(generator.integers(0, gone + 1)) for gone in (picture.shape[0] - height, picture.shape[1] - width))
    return picture[top : top + height, left : left + width]


def mirrored(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return picture[:, ::-1]


def recoloured(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Hue by up to 40 degrees, saturation by a half, contrast by a fifth, brightness by a tenth."""
    hue, saturation, value = cv2.split(
        cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2HSV).astype(np.float32)
    )
    hue = (hue + generator.uniform(-20, 20)) % 180
    saturation = np.clip(saturation * generator.uniform(0.5, 1.5), 0, 255)
    turned = cv2.cvtColor(cv2.merge([hue, saturation, value]).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    changed = (turned - 128) * generator.uniform(0.8, 1.2) + 128 + generator.uniform(-25, 25)
    return np.clip(changed, 0, 255).astype(np.uint8)


def blurred(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """By 1.5 to 3% of the shorter side."""
    return cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.015, 0.03)) * min(picture.shape[:2]))


CHANGES: dict[str, Change] = {
    "saved anew": saved_anew,
    "resized": resized,
    "cropped by 10%": cropped,
    "mirrored": mirrored,
    "recoloured": recoloured,
}


def plant(table: Table, folder: Path, num: int, seed: int) -> Planted:
    """Copies the pictures of a table to `folder`, and plants `num` copies of each kind, blurs, and wrong labels; done
    once. No picture has two faults."""
    done = folder / "planted.json"
    if not done.is_file():
        write_json(done, _plant(table, folder, num, seed))
    told = read_json(done)
    copies = {kind: [(one, other) for one, other in pairs] for kind, pairs in told["copies"].items()}
    divided = [(one, other) for one, other in told["divided"]]
    return Planted(folder / "pictures", folder / "train.json", copies, told["blurred"], told["swapped"], divided)


def _plant(table: Table, folder: Path, num: int, seed: int) -> dict[str, object]:
    generator = numpy_generator(seed, "planted faults")
    pictures = folder / "pictures"
    names = [f"{row:06}{Path(table.paths[row]).suffix}" for row in range(len(table))]
    pictures.mkdir(parents=True, exist_ok=True)
    for row, name in enumerate(names):
        shutil.copyfile(table.path(row), pictures / name)
    labels = table.labels.copy()
    order = generator.permutation(len(table))
    num = min(num, len(order) // 8)
    copies: dict[str, list[tuple[str, str]]] = {}
    records = []
    for place, (kind, change) in enumerate(CHANGES.items()):
        copies[kind] = []
        for row in order[place * num : (place + 1) * num].tolist():
            copy = f"copy_{place}_{row:06}.jpg"
            _save(pictures / copy, change(_read(pictures / names[row]), generator), generator, kind == "saved anew")
            copies[kind].append((names[row], copy))
            records.append({"fpath": copy, "image_id": copy, "category_id": int(labels[row])})
    blurs = order[5 * num : 6 * num].tolist()
    for row in blurs:
        _save(pictures / names[row], blurred(_read(pictures / names[row]), generator), generator)
    divided = _divide(labels, table.num_classes, generator)
    rest = order[6 * num :]
    swapped = generator.choice(rest, min(len(rest), round(_SWAPPED * len(table))), replace=False)
    labels[swapped] = (labels[swapped] + generator.integers(1, table.num_classes, len(swapped))) % table.num_classes
    originals = [
        {"fpath": name, "image_id": name, "category_id": int(label)} for name, label in zip(names, labels.tolist())
    ]
    num_classes = table.num_classes + len(divided)
    (folder / "train.json").write_bytes(annotations_json([*originals, *records], num_classes))
    return {
        "copies": copies,
        "blurred": [names[row] for row in blurs],
        "swapped": [names[row] for row in swapped.tolist()],
        "divided": divided,
    }


def _divide(labels: np.ndarray, num_classes: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Gives half of the pictures of some classes a label of their own, in place; the pairs of labels."""
    large = np.flatnonzero(np.bincount(labels, minlength=num_classes) >= _LEAST_TO_DIVIDE)
    chosen: Sequence[int] = generator.permutation(large)[:_DIVIDED].tolist()
    for number, label in enumerate(chosen):
        rows = generator.permutation(np.flatnonzero(labels == label))
        labels[rows[: len(rows) // 2]] = num_classes + number
    return [(label, num_classes + number) for number, label in enumerate(chosen)]


def _read(file: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR))[..., ::-1]


def _save(file: Path, picture: np.ndarray, generator: np.random.Generator, is_strong: bool = False) -> None:
    """As JPEG, whatever the name says; is_strong: of a low quality."""
    quality = int(generator.integers(30, 80)) if is_strong else 85
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    file.write_bytes(cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), settings)[1].tobytes())
