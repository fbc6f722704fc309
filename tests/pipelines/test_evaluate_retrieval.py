"""`shelfmark evaluate` with everything that is scored on request, on a small run of the shop."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main, screens
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.data.annotations import read_annotations
from shelfmark.data.table import Table
from shelfmark.evaluation.clustering import cluster_scores
from shelfmark.evaluation.drawn_galleries import drawn_gallery_scores
from shelfmark.recipe import Recipe
from shelfmark.runtime.retrieval_scores import _legacy_scores, query_gallery


def test_everything_that_is_asked_for_is_scored_written_and_shown(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--clusters", "--verification", "--legacy-metrics", "fastreid", "--gallery-draws", "3"]
    assert main(["evaluate", "--RESUME_MODEL", "log/base/last", "--out", "scores", *asked]) == 0
    printed = capsys.readouterr().out
    summary = json.loads(Path("scores/summary.json").read_text())
    before = json.loads(Path("log/base/summary.json").read_text())
    assert {name: summary[name] for name in before} == before
    assert summary["map_low"] < summary["map"] < summary["map_high"]
    embeddings = read_embeddings(Path("scores/embeddings/retrieval"))
    expected = cluster_scores(embeddings.features, embeddings.labels)
    assert {name: summary[name] for name in expected} == pytest.approx(expected)
    drawn = drawn_gallery_scores(embeddings.features, embeddings.labels, [1, 5, 10], num_draws=3)
    assert {name: summary[name] for name in drawn} == pytest.approx(drawn)
    assert 0 < summary["tpr@fpr=0.01"] <= 1
    assert 0.5 < summary["roc_auc"] <= 1
    # No picture of the shop's queries is in its gallery, so the old rule changes only what has no positive.
    share = summary["num_queries"] / (summary["num_queries"] + summary["num_queries_without_positive"])
    assert summary["fastreid_recall@1"] == pytest.approx(summary["recall@1"] * share)
    for shown in ("fastreid", "NMI", "TPR at FPR 0.01", "Recall@1", "precision@5", "MRR"):
        assert shown in printed


def test_after_training_the_screen_keeps_intervals_and_leaves_details_to_the_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {
        "recall@1": 0.5,
        "recall@1_low": 0.4,
        "recall@1_high": 0.6,
        "recall@1_many": 0.7,
        "mrr": 0.3,
        "map@5": 0.2,
    }
    screens.trained(Path("none"), scores | {"map@r": 0.1})
    printed = capsys.readouterr().out
    assert "50.0% (40.0 - 60.0)" in printed
    assert "mAP@R" in printed
    assert not any(hidden in printed for hidden in ("many", "MRR", "mAP@5"))
    screens.evaluated(Path("none"), scores | {"pnp_recall@1": 0.9}, "pnp")
    printed = capsys.readouterr().out
    assert all(shown in printed for shown in ("Recall@1 many", "MRR", "mAP@5", "pnp", "90.0%"))


def test_without_retrieval_pictures_val_is_searched_in_itself_with_its_groups(base: Path) -> None:
    argv = ["evaluate", "--RESUME_MODEL", "log/base/last", "--out", "scores", "data.retrieval_json=null", "eval.few=12"]
    assert main(argv) == 0
    summary = json.loads(Path("scores/summary.json").read_text())
    assert summary["num_queries"] + summary["num_queries_without_positive"] == summary["num_images"]
    assert {"recall@1_many", "recall@1_medium", "recall@1_few"} <= set(summary)
    rows = _rows("scores/retrieval_per_class.csv")
    counts = np.array([int(row["num_queries"]) for row in rows])
    recalls = np.array([float(row["recall@1"]) for row in rows])
    assert counts.sum() == summary["num_queries"]
    assert (counts * recalls).sum() / counts.sum() == pytest.approx(summary["recall@1"], abs=1e-5)
    assert recalls.mean() == pytest.approx(summary["mean_class_recall@1"], abs=1e-5)
    groups = _rows("scores/retrieval_groups.csv")
    assert {row["group"] for row in groups} == {row["group"] for row in rows}
    assert sum(int(row["num_queries"]) for row in groups) == counts.sum()
    members = [float(row["recall@1"]) for row in rows if row["group"] == groups[0]["group"]]
    assert float(groups[0]["mean_class_recall@1"]) == pytest.approx(np.mean(members), abs=1e-5)


def test_older_definitions_drop_the_first_place_where_queries_are_the_gallery(small: Path) -> None:
    table = read_annotations(Path("val_small.json"), root=Path("dataset/shop"), num_classes=0)
    everyone = np.ones(len(table), dtype=bool)
    features = Embeddings(
        np.random.default_rng(0).standard_normal((len(table), 8)).astype(np.float32),
        table.labels,
        table.image_ids,
        table.paths,
    )

    def scored(is_query: np.ndarray, is_gallery: np.ndarray) -> dict[str, float]:
        marked = Table(**{**vars(table), "is_query": is_query, "is_gallery": is_gallery})
        return _legacy_scores(Recipe(), features, marked, "pnp")

    assert scored(everyone, everyone) == _legacy_scores(Recipe(), features, None, "pnp")
    first = np.arange(len(table)) < 5
    assert scored(first, ~first)["pnp_recall@1"] < 1
    with pytest.raises(UserError, match="5 of the 5 queries stand in the gallery"):
        scored(first, everyone)
    with pytest.raises(UserError, match="has is_query and no is_gallery: records need both, or neither"):
        query_gallery(Recipe(), features, Table(**{**vars(table), "is_query": everyone}))
    assert query_gallery(Recipe(), features, table).is_same_set


def _rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))
