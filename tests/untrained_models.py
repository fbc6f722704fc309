"""Small models that have learned nothing, with pictures, annotations and photographs that cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.engine.checkpoint import save_checkpoint
from shelfmark.recipe import Recipe, assemble

NUM_CLASSES = 3
# With four in a batch: 4 batches, 3, 2, and one of two pictures; none is a multiple.
SIZES = {"train": 13, "val": 11, "retrieval": 7, "more": 2}
MODELS: dict[str, list[str]] = {"run": ["train.batch_size=8"], "experts": ["model.experts=2"]}
SPOILT_ALL = "pictures/spoilt_all"


def options(place: Path) -> list[str]:
    files = [f"data.{name}_json={place}/{name}.json" for name in ("train", "val", "retrieval")]
    return [
        *["model.backbone=test_resnet", "model.weights=''", "data.input_size_px=16", "data.num_workers=0"],
        *["eval.batch_size=4", "calibrate.folds=2", "tau_norm.folds=2", "eval.metric=recall@1", "train.precision=fp32"],
        *["data.generated=''", f"data.root={place}/pictures", f"output.tau_root={place}/log_tau", *files],
    ]


def make_place(place: Path, names: Sequence[str] = ("class 0", "class 1", "class 2")) -> None:
    """Pictures, annotations and models that have learned nothing. names: of the three classes."""
    generator = np.random.default_rng(0)
    (place / "pictures" / "test").mkdir(parents=True)
    for split, number in SIZES.items():
        records = []
        for row in range(number):
            name = f"{split}_{row}.png"
            Image.fromarray(generator.integers(0, 256, (18, 20, 3), dtype=np.uint8)).save(place / "pictures" / name)
            records.append({"fpath": name, "image_id": name, "category_id": row % NUM_CLASSES})
        document = {"annotations": records, "num_classes": NUM_CLASSES, "class_names": list(names)}
        (place / f"{split}.json").write_text(json.dumps(document))
    for row in range(5):
        shutil.copy(place / "pictures" / f"val_{row}.png", place / "pictures" / "test" / f"{row}.png")
    make_spoilt(place)
    for name, more in MODELS.items():
        recipe = load(Recipe, None, [parse_override(word) for word in (*options(place), *more)]).config
        facts = {
            "config": recipe.model_dump(mode="json"),
            "num_classes": NUM_CLASSES,
            "class_names": list(names),
            "counts": [5, 4, 4],
            "step": 0,
            "epoch": 0,
            "val_is_held_out": False,
        }
        save_checkpoint(place / "log" / name / "last", assemble.network(recipe, NUM_CLASSES).state_dict(), {}, facts)


def make_spoilt(place: Path) -> None:
    """Photographs of which most, or all, cannot be read, and annotations of the former."""
    for folder in ("spoilt", "spoilt_all"):
        (place / "pictures" / folder).mkdir()
        for name in ("4.png", "5.png", "6.png", "7.png", "8.png"):
            (place / "pictures" / folder / name).write_bytes(b"no picture")
    shutil.copy(place / "pictures" / "val_0.png", place / "pictures" / "spoilt" / "0.png")
    records = [{"fpath": f"spoilt/{row}.png", "category_id": 0} for row in (0, 4, 5, 6, 7, 8)]
    (place / "spoilt.json").write_text(json.dumps({"annotations": records, "num_classes": NUM_CLASSES}))
