"""What `shelfmark weigh-experts` gains: SADE's trained experts on images of three class shares.

    python benchmarks/table_longtail.py          (trains the models, log/longtail_table/sade_seed<n>)
    python benchmarks/bench_expert_weights.py

Of the shop's val images, of which each class has as many, three sets are drawn: with shares that fall with the class's
rank by training images (from all its images to one), equal shares, and shares that rise. Experts are weighed on each
set without labels. Legend: C classes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import device_names, versions

from shelfmark.data.table import Table
from shelfmark.pipelines.weigh_experts import weigh_experts
from shelfmark.runtime.features import features_of
from shelfmark.runtime.splits import read_evaluation, require_val
from shelfmark.runtime.trained_model import TrainedModel, open_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/longtail_table"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print(f"{device_names()}; {versions('torch', 'numpy')}; {time.strftime('%Y-%m-%d')}\n")
    print("| seed | images to come | number | equal weights | weighed | weights |\n|---|---|---:|---:|---:|---|")
    for seed in options.seeds:
        opened = open_model(options.work / f"sade_seed{seed}" / "best_model")
        val = require_val(read_evaluation(opened)[0], "this comparison")
        for shares, rows in drawn_rows(val.labels, opened.counts).items():
            print(_row(seed, shares, opened, val.take(rows)), flush=True)


def drawn_rows(labels: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of each set. labels: (N,) of val. counts: (C,) training images; the first of equal ones ranks higher."""
    place = np.argsort(np.argsort(-counts, kind="stable")) / (len(counts) - 1)
    most = int(np.bincount(labels).min())
    wanted = {
        "shares as in training": 1 + np.round((most - 1) * (1 - place) ** 3),
        "equal shares": np.full(len(counts), most),
        "reversed shares": 1 + np.round((most - 1) * place**3),
    }
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    nth = np.arange(len(labels)) - starts
    return {shares: np.sort(order[nth < number[labels[order]]]) for shares, number in wanted.items()}


def _row(seed: int, shares: str, opened: TrainedModel, table: Table) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
        images.mkdir()
        for row in range(len(table)):
            (images / table.paths[row].replace("/", "_")).symlink_to(table.path(row).resolve())
        weighed = weigh_experts(opened, images=images)
        found = features_of(
            opened.network,
            opened.recipe,
            table,
            Path(temporary) / "features",
            made_by=opened.hashes,
            precision=opened.precision,
        )
        # The experts' features are the same for both; only the classifier differs.
        features, labels = torch.from_numpy(np.array(found.features)), torch.from_numpy(found.labels)
    accuracies = [_accuracy(model, features, labels) for model in (opened, open_model(weighed.checkpoint))]
    cells = [f"{100 * accuracy:.1f}%" for accuracy in accuracies]
    weights = ", ".join(f"{weight:.2f}" for weight in weighed.weights)
    return f"| {seed} | {shares} | {len(table)} | {' | '.join(cells)} | {weights} |"


def _accuracy(model: TrainedModel, features: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((model.network.logits(features).argmax(dim=1) == labels).float().mean())


if __name__ == "__main__":
    main()
