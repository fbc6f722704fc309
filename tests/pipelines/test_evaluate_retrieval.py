"""`shelfmark evaluate` with everything that is scored on request, on a small run of the shop."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main, screens
from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.annotations import read_annotations
from shelfmark.data.identity import image_numbers
from shelfmark.data.table import Table
from shelfmark.evaluation import retrieval
from shelfmark.evaluation.clustering import cluster_scores
from shelfmark.evaluation.drawn_galleries import drawn_gallery_scores
from shelfmark.evaluation.post_processing import of_length_1, reranked_scores
from shelfmark.evaluation.retrieval import search_scores
from shelfmark.evaluation.verification import verification_scores
from shelfmark.recipe import Recipe
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.runtime.copies import tell_copies
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
    val = read_embeddings(Path("scores/embeddings/val"))
    per_class = list(csv.DictReader(Path("scores/per_class.csv").read_text().splitlines()))
    recalls = [float(row["recall@1"]) for row in per_class if row["recall@1"]]
    searched = retrieval.scores(val.features, val.labels, [1])
    assert np.mean(recalls) == pytest.approx(searched["mean_class_recall@1"], abs=1e-6)
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
    # Every picture once as a query and once, in another order, as a gallery item: that is the same set.
    twice = table.take(np.concatenate([np.arange(len(table)), np.arange(len(table))[::-1]]))
    both = Embeddings(
        np.concatenate([features.features, features.features[::-1]]), twice.labels, twice.paths, twice.paths
    )
    is_query = np.arange(len(twice)) < len(table)
    marked = replace(twice, is_query=is_query, is_gallery=~is_query)
    assert _legacy_scores(Recipe(), both, marked, "pnp") == _legacy_scores(Recipe(), features, None, "pnp")


@pytest.fixture
def searched() -> tuple[Table, Embeddings]:
    """Five queries and eight gallery items of three classes, no picture twice, and random features."""
    generator = np.random.default_rng(3)
    paths = Strings.of(f"{row}.jpg" for row in range(13))
    labels, is_query = np.array([0, 1, 2, 0, 1, 0, 0, 1, 1, 2, 2, 0, 1]), np.arange(13) < 5
    table = Table(paths, labels, paths, 3, Path("/data"), "", is_query=is_query, is_gallery=~is_query)
    return table, Embeddings(generator.standard_normal((13, 4)).astype(np.float32), labels, paths, paths)


def with_records(table: Table, features: Embeddings, more: list[tuple[int, str]]) -> tuple[Table, Embeddings]:
    """With further gallery records: the picture of a row again, under another spelling of its path."""
    rows = [row for row, _ in more]
    paths = Strings.of([*table.paths, *(spelling for _, spelling in more)])
    labels = np.append(table.labels, table.labels[rows])
    columns = {
        "is_query": np.append(table.is_query, np.zeros(len(rows), bool)),
        "is_gallery": np.append(table.is_gallery, np.ones(len(rows), bool)),
    }
    longer = replace(table, paths=paths, labels=labels, image_ids=paths, **columns)
    return longer, Embeddings(np.concatenate([features.features, features.features[rows]]), labels, paths, paths)


def test_a_query_that_stands_in_the_gallery_too_changes_none_of_its_scores(
    searched: tuple[Table, Embeddings],
) -> None:
    recipe = load(Recipe, None, [Override("data.root", "/data", "here")]).config
    for row in range(5):
        alone = replace(searched[0], is_query=np.arange(13) == row)
        plain = query_gallery(recipe, searched[1], alone)
        for spelling in (f"{row}.jpg", f"./{row}.jpg", f"/data/x/../{row}.jpg"):
            table, features = with_records(alone, searched[1], [(row, spelling)])
            again = query_gallery(recipe, features, table)
            found, expected = search_scores(again, [1, 5]).means(), search_scores(plain, [1, 5]).means()
            assert found == {**expected, "num_gallery": 9}
            assert reranked_scores(of_length_1(again), k1=4, k2=2) == reranked_scores(of_length_1(plain), k1=4, k2=2)
            ours, theirs = (verification_scores(sides) for sides in (again, plain))
            assert ours == theirs
    # By row numbers each query found itself: an oracle of the fault.
    table, features = with_records(*searched, [(row, f"{row}.jpg") for row in range(5)])
    by_rows = QueryGallery.of(features.features[:5], features.labels[:5], features.features[5:], features.labels[5:])
    assert search_scores(by_rows, [1]).means()["recall@1"] == 1
    assert search_scores(query_gallery(recipe, features, table), [1]).means()["recall@1"] != 1


def test_a_picture_that_a_set_lists_twice_does_not_find_itself(searched: tuple[Table, Embeddings]) -> None:
    table, features = with_records(*searched, [(0, "./0.jpg")])
    table = replace(table, is_query=None, is_gallery=None)
    recipe = load(Recipe, None, [Override("data.root", "/data", "here")]).config
    found = search_scores(query_gallery(recipe, features, table), [1])
    assert found.first_rank[0] == found.first_rank[13]
    drawn = drawn_gallery_scores(features.features, features.labels, [1], 3, ids=image_numbers(table.paths, table.root))
    assert drawn != drawn_gallery_scores(features.features, features.labels, [1], 3)


def test_a_link_to_a_picture_is_that_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "link.jpg").symlink_to("../a.jpg")
    (tmp_path / "also").symlink_to("deep")
    paths = ["a.jpg", "gone.jpg", "deep/link.jpg", "also/link.jpg", "also/b.jpg", "deep/b.jpg", "./gone.jpg"]
    assert image_numbers(paths, tmp_path).tolist() == [0, 1, 0, 0, 2, 2, 1]


def test_copies_under_another_name_are_counted_and_change_no_score(
    tmp_path: Path, searched: tuple[Table, Embeddings], caplog: pytest.LogCaptureFixture
) -> None:
    table, features = with_records(*searched, [(0, "copy.jpg"), (1, "1.jpg"), (2, "other.jpg")])
    for path in (*searched[0].paths, "other.jpg"):
        (tmp_path / path).write_bytes(path.encode())
    (tmp_path / "copy.jpg").write_bytes(b"0.jpg")
    tell_copies(features, replace(table, root=tmp_path))
    assert "1 query has an exact copy in the gallery under another name, such as 0.jpg and copy.jpg." in caplog.text
    caplog.clear()
    (tmp_path / "copy.jpg").unlink()
    tell_copies(features, replace(table, root=tmp_path))
    assert caplog.text == ""


def _rows(file: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(file).read_text().splitlines()))
