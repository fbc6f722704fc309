"""Time, peak memory and size of the report of a large run, which is made up of random features.

    make bench-report                    # 50,030 classes, 148,000 val images
    make bench-report MORE="--scale 0.1"

Legend: N images, C classes, D embedding.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import add_out, made_by, verdict, write_page

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import write_embeddings
from shelfmark.core.files import write_json
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import save_checkpoint
from shelfmark.evaluation.per_class import PerClass, write_per_class
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.stored_features import feature_facts
from shelfmark.runtime.trained_model import open_model

NUM_CLASSES, NUM_VAL, NUM_TRAIN = 50_030, 148_000, 500_000
BACKBONE = "resnet10t"  # 512 dimensions
MOST_S, MOST_GB, MOST_MB = 180, 1.5, 3
SPREAD = 5.0
"""Of the images about their class's centre, in lengths of the centre."""
_NUM_PICTURES = 2000
GB, MB = 10**9, 10**6

METHOD = f"""\
A made-up run: random class centres of 512 dimensions, images about them with {SPREAD} times their length, the
classifier the centres, class sizes by Zipf's law, small photographs of noise and shapes. `shelfmark report` runs in a
process of its own; time and peak memory are of the whole command, imports and the opening of the checkpoint included.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the classes and images (default: 1)")
    parser.add_argument("--keep", type=Path, help="folder to make the run in, and to keep it")
    add_out(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as own:
        write_page(_page(args.scale, args.keep or Path(own)), args.out)


def _page(scale: float, folder: Path) -> Iterator[str]:
    num_classes, num_val, num_train = (max(10, round(scale * one)) for one in (NUM_CLASSES, NUM_VAL, NUM_TRAIN))
    yield "# The report of a large run"
    yield ""
    yield made_by()
    yield ""
    yield METHOD
    run = make_run(folder, num_classes, num_val, num_train)
    seconds, peak, size = measured(folder, run)
    yield "| | classes | val images | training images | measured | target |"
    yield "|---|---:|---:|---:|---:|---|"
    sizes = f"{num_classes:,} | {num_val:,} | {num_train:,}"
    yield f"| time | {sizes} | {seconds:.0f} s | under {MOST_S} s: {verdict(seconds < MOST_S)} |"
    yield f"| peak memory | {sizes} | {peak / GB:.2f} GB | under {MOST_GB} GB: {verdict(peak < MOST_GB * GB)} |"
    yield f"| the page | {sizes} | {size / MB:.2f} MB | under {MOST_MB} MB: {verdict(size < MOST_MB * MB)} |"


_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measured(folder: Path, run: Path) -> tuple[float, int, int]:
    """Seconds, peak memory in bytes and the page's bytes of `shelfmark report`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "shelfmark", "report", str(run)]
    # Linux counts to a process what its parent held when it was started, and this one has made the run. So the report
    # is started, and measured, by a process that holds nothing.
    done = subprocess.run([sys.executable, "-c", _MEASURED, *command], cwd=folder, check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - started
    return seconds, int(done.stdout) * 1024, (run / "report.html").stat().st_size


def make_run(folder: Path, num_classes: int, num_val: int, num_train: int) -> Path:
    """A run folder with checkpoint, scores, log and the features of val."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    counts = 1 / np.arange(1, num_classes + 1) ** 0.8
    counts = np.maximum(1, np.round(counts / counts.sum() * num_train)).astype(int)
    labels = {"train": np.repeat(np.arange(num_classes), counts), "val": np.arange(num_val) % num_classes}
    _write_pictures(folder / "pictures", max(map(len, labels.values())), generator)
    for name, of_rows in labels.items():
        _write_annotations(folder / f"{name}.json", name, of_rows, num_classes)
    recipe = _recipe(folder)
    network = assemble.network(recipe, num_classes, load_weights=False)
    centres = torch.nn.functional.normalize(torch.randn(network.classifier.weight.shape), dim=1)
    with torch.no_grad():
        network.classifier.weight.copy_(centres)
    run = folder / "log" / "large"
    facts = {
        "config": recipe.model_dump(mode="json"),
        "num_classes": num_classes,
        "class_names": [f"Product {label}" for label in range(num_classes)],
        "counts": counts,
        "step": 1000,
        "epoch": 10,
        "val_is_held_out": False,
        "train_sha256": "0" * 64,
    }
    save_checkpoint(run / "best_model", network.state_dict(), {}, facts)
    _write_features(run, recipe, centres.numpy(), labels["val"], generator)
    _write_log(run, counts, generator)
    return run


def _recipe(folder: Path) -> Recipe:
    words = [
        *(f"model.backbone={BACKBONE}", "model.weights=''", "data.input_size_px=64", "data.num_workers=0"),
        *("data.generated=''", f"data.root={folder}/pictures", f"output.tau_root={folder}/log_tau"),
        *(f"data.{name}_json={folder}/{name}.json" for name in ("train", "val")),
        *("train.precision=fp32", "train.device=cpu"),
    ]
    return load(Recipe, None, [parse_override(word) for word in words]).config


def _write_pictures(folder: Path, number: int, generator: np.random.Generator) -> None:
    """train and val with one file for each image; after the first ones they are further names of these."""
    for name in ("train", "val"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for row in range(2 * number):
        file = folder / ("train", "val")[row % 2] / f"{row // 2}.jpg"
        if row >= _NUM_PICTURES:
            os.link(folder / "val" / f"{row % (_NUM_PICTURES // 2)}.jpg", file)
            continue
        pixels = cv2.resize(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8), (160, 160))
        cv2.imwrite(str(file), cv2.rectangle(pixels, (30, 20), (100, 130), pixels[0, 0].tolist(), -1))


def _write_annotations(file: Path, name: str, labels: np.ndarray, num_classes: int) -> None:
    records = [
        {"fpath": f"{name}/{row}.jpg", "image_id": f"{name}{row}", "category_id": label}
        for row, label in enumerate(labels.tolist())
    ]
    file.write_text(json.dumps({"annotations": records, "num_classes": num_classes}))


def _write_features(
    run: Path, recipe: Recipe, centres: np.ndarray, labels: np.ndarray, generator: np.random.Generator
) -> None:
    model = open_model(run / "best_model")
    table: Table = assemble.read_table(model.recipe, "val", num_classes=0)
    spread = SPREAD / centres.shape[1] ** 0.5
    features = np.empty((len(labels), centres.shape[1]), dtype=np.float32)
    for start in range(0, len(labels), 8192):
        block = labels[start : start + 8192]
        features[start : start + 8192] = centres[block] + spread * generator.normal(size=(len(block), centres.shape[1]))
    facts = feature_facts(model.recipe, table, model.hashes, model.precision.name, "centre")
    found = Embeddings(features, table.labels, table.image_ids, table.paths, {"facts": facts})
    write_embeddings(run / "embeddings" / "val", found)


def _write_log(run: Path, counts: np.ndarray, generator: np.random.Generator) -> None:
    num_classes = len(counts)
    scored = ClassCounts(num_classes)
    scored.counters[0] = 3
    scored.counters[1] = torch.from_numpy(generator.integers(0, 4, num_classes))
    write_per_class(run / "per_class.csv", PerClass(scored, counts))
    write_json(run / "summary.json", scored.scores(counts))
    names = ["category_id,recall@1,map,map@r"]
    rows = (f"{label},{value:.4f},{value:.4f},{value:.4f}" for label, value in enumerate(generator.random(num_classes)))
    (run / "retrieval_per_class.csv").write_text("\n".join([*names, *rows]) + "\n")
    records = [
        {"kind": "train", "step": step, "epoch": step // 5000, "loss": 8 / (1 + step / 5000), "lr": 0.1, "grad_norm": 1}
        for step in range(0, 50_000, 10)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))


if __name__ == "__main__":
    main()
