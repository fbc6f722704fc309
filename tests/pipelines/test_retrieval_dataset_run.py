"""A retrieval data set from its published layout to the score of its test, as docs/datasets.md says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.core.rng import numpy_generator


def picture(file: Path, color: np.ndarray, index: int) -> None:
    """Noise around one color a class, which a network of any kind can tell apart."""
    noise = numpy_generator(0, "picture", index).normal(0, 20, (32, 32, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(color + noise, 0, 255).astype(np.uint8)).save(file)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    """Stanford Online Products in small: ten training classes of six pictures, four test classes of four."""
    root = tmp_path / "Stanford_Online_Products"
    colors = numpy_generator(0, "colors").integers(0, 255, (15, 3))
    for part, first, last, num_images in (("train", 1, 10, 6), ("test", 11, 14, 4)):
        rows = ["image_id class_id super_class_id path"]
        for class_id in range(first, last + 1):
            for number in range(num_images):
                path = f"chair_final/{class_id}_{number}.JPG"
                picture(root / path, colors[class_id], 100 * class_id + number)
                rows.append(f"{len(rows)} {class_id} 1 {path}")
        (root / f"Ebay_{part}.txt").write_text("\n".join(rows))
    return root


def test_a_run_chooses_by_unseen_classes_and_the_test_is_scored_afterwards(
    products: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(products.parent)
    assert main(["prepare", "sop", "--source", str(products), "--out", "sop", "--val-fraction", "0.3"]) == 0
    printed = caplog.messages[-1]
    words = shlex.split(printed.split("Use it with: ")[1])
    whole = words[words.index("train") :]
    small = [option for option in SMALL if "_json" not in option]
    run = ["name=sop", "train.batch_size=24", "train.num_epochs=1", "eval.every_epochs=1", "train.steps_per_epoch=3"]
    assert main([*whole, *small, "model.weights=", *run]) == 0
    summary = json.loads(Path("log/sop/summary.json").read_text())
    # Three classes of six pictures, each searched among the 17 others.
    assert (summary["num_queries"], summary["num_gallery"]) == (18, 18)
    assert "recall@1000" in summary
    records = [json.loads(line) for line in Path("log/sop/metrics.jsonl").read_text().splitlines()]
    assert any("recall@1" in entry for entry in records)
    # The command that `prepare` printed for the test.
    command = shlex.split(
        printed.split("the test: shelfmark ")[1].splitlines()[0].replace("CKPT", "log/sop/best_model")
    )
    assert main([*command, "--out", "test"]) == 0
    tested = json.loads(Path("test/summary.json").read_text())
    assert (tested["num_queries"], tested["num_gallery"]) == (16, 16)
    assert 0 < tested["recall@1"] <= 1
