"""How well `shelfmark clean` finds wrong labels: the shop with a tenth of its training labels planted wrong.

    make bench-clean

Each noise is a training of configs/shop.yaml on the wrong labels and one pass of features; nothing else knows which
labels are wrong. The average precision of a random ranking is the part that is wrong, 0.10.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import device_names, versions

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.files import write_text
from shelfmark.core.rng import numpy_generator
from shelfmark.data.documents import annotations_json, read_document
from shelfmark.pipelines.clean import LabelFindings, clean
from shelfmark.pipelines.train import train
from shelfmark.recipe import Recipe
from shelfmark.runtime.trained_model import open_model
from shelfmark.shop import generate_shop, is_complete

CONFIG = Path(__file__).parents[1] / "configs" / "shop.yaml"
SHOP = Path("dataset/shop")
PART = 0.1
SEED = 0


def main() -> None:
    if not is_complete(SHOP):
        generate_shop(SHOP)
    print(f"{device_names()}; {versions('torch', 'numpy')}; {time.strftime('%Y-%m-%d')}; seed {SEED}")
    rows = [f"| {noise} | {' | '.join(measured(noise))} |" for noise in ("any other class", "a class of its family")]
    print("\n| wrong label is | AP of prototype | of confidence | of suspicion |", end="")
    print(" drop.txt | its precision | its recall | relabel.csv right |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", *rows, sep="\n")


def measured(noise: str) -> list[str]:
    """The cells of one row of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        annotations, true_labels = plant(noise, folder)
        overrides = [f"data.train_json={annotations}", f"output.log_root={folder / 'log'}", f"seed={SEED}"]
        run, _ = train(load(Recipe, CONFIG, [parse_override(text) for text in overrides]))
        cleaned = clean(open_model(run / "best_model"))
        cells = scores(cleaned, true_labels[cleaned.embeddings.rows])
    print(noise, *cells, sep="  ", flush=True)
    return cells


def plant(noise: str, folder: Path) -> tuple[Path, np.ndarray]:
    """Training annotations with wrong labels, and the (N,) right ones."""
    document, _ = read_document(SHOP / "train.json", "annotations")
    groups = np.array(document["groups"])
    generator = numpy_generator(SEED, "wrong labels")
    records = document["annotations"]
    true_labels = np.array([record["category_id"] for record in records])
    for row in generator.choice(len(records), round(PART * len(records)), replace=False):
        label = true_labels[row]
        related = groups == groups[label] if noise == "a class of its family" else np.ones(len(groups), dtype=bool)
        others = np.setdiff1d(np.flatnonzero(related), label)
        records[row]["category_id"] = int(generator.choice(others))
    file = folder / "train.json"
    text = annotations_json(records, document["num_classes"], document["class_names"], document["groups"])
    write_text(file, text.decode())
    return file, true_labels


def scores(cleaned: LabelFindings, true_labels: np.ndarray) -> list[str]:
    suspects, leaves = cleaned.suspects, cleaned.leaves
    wrong = suspects.labels != true_labels
    renamed = leaves & suspects.agreed
    rankings = (suspects.prototype, suspects.confidence, suspects.suspicion)
    return [
        *(f"{average_precision(ranking, wrong):.4f}" for ranking in rankings),
        f"{leaves.sum()} of {len(leaves)}",
        f"{wrong[leaves].mean():.3f}",
        f"{leaves[wrong].mean():.3f}",
        f"{(suspects.suggested == true_labels)[renamed].mean():.3f} of {renamed.sum()}",
    ]


def average_precision(suspicion: np.ndarray, positive: np.ndarray) -> float:
    """The mean over positives of the precision down to each."""
    found = positive[np.argsort(-suspicion, kind="stable")]
    precision = np.cumsum(found) / np.arange(1, len(found) + 1)
    return float(precision[found].mean())


if __name__ == "__main__":
    main()
