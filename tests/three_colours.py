"""A catalogue of three colours and a run that learned it, for tests that go from a checkpoint to annotations."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmark.cli import main

COLOURS = [(220, 40, 30), (30, 200, 60), (40, 60, 220)]
PER_CLASS = 10
WRONG = {4: 1, 15: 2}
"""Rows of the training annotations whose label is wrong, with that label."""

TRAIN = [
    "train",
    "name=run",
    "model.backbone=test_resnet",
    "data.generated=",
    "data.root=pictures",
    "data.train_json=train.json",
    "data.val_json=val.json",
    "data.test_json=test.json",
    "data.input_size_px=32",
    "data.num_workers=0",
    "train.batch_size=15",
    "train.num_epochs=3",
    "train.precision=fp32",
    "augment.crop_scale=[0.9, 1.0]",
    "optim.lr=0.02",
    "optim.schedule.warmup_epochs=0",
]


def records(split: str, per_class: int, generator: np.random.Generator) -> list[dict]:
    """Pictures of noise in their class's colour, and their annotations."""
    made = []
    for number in range(3 * per_class):
        label = number // per_class
        pixels = np.clip(np.array(COLOURS[label]) + generator.normal(0, 25, size=(32, 32, 3)), 0, 255)
        fpath = f"{split}/{number:02}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(Path("pictures", fpath))
        made.append({"category_id": label, "fpath": fpath, "image_id": f"{split}_{number:02}"})
    return made


def written(file: str, annotations: list[dict]) -> None:
    names = ["red", "green", "blue"]
    Path(file).write_text(json.dumps({"annotations": annotations, "num_classes": 3, "class_names": names}))


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a trained run."""
    folder = tmp_path_factory.mktemp("clean")
    generator = np.random.default_rng(0)
    with contextlib.chdir(folder):
        for split in ("train", "val", "test"):
            Path("pictures", split).mkdir(parents=True)
        train = records("train", PER_CLASS, generator)
        for row, label in WRONG.items():
            train[row]["category_id"] = label
        written("train.json", train)
        written("val.json", records("val", 2, generator))
        images = [{"image_id": record["fpath"]} for record in records("test", 2, generator)]
        Path("test.json").write_text(json.dumps({"images": images}))
        assert main(TRAIN) == 0
    return folder
