"""New photographs to the products of a run: by a real network with seeded weights, on pictures of plain colours."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from discovered_run import KNOWN, NAMES, VAL, Picture, colour, finish, pictures, write_run
from PIL import Image

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.errors import UserError
from shelfmark.discovery.known import JoinRule
from shelfmark.engine.checkpoint import save_checkpoint
from shelfmark.pipelines.discover import assign as pipeline
from shelfmark.pipelines.discover.assign import (
    answers_of,
    assign,
    assigned_rows,
    known_and_found,
    photo_rule,
    write_assigned,
)
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.review.apply import write_review
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.photographs import embed_photographs
from shelfmark.runtime.trained_model import open_model


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    """Embeddings on the axes of the classes; no model."""
    run = write_run(tmp_path, pictures())
    finish(run)
    return run


@pytest.fixture(scope="module")
def with_model(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run with a checkpoint, whose embeddings are those of its pictures by that model."""
    folder = tmp_path_factory.mktemp("assign")
    run = write_run(folder, pictures())
    finish(run)
    options = ["model.backbone=test_resnet", "data.input_size_px=32", "data.num_workers=0"]
    recipe: Recipe = load(Recipe, None, [parse_override(option) for option in options]).config
    facts = {
        "config": recipe.model_dump(mode="json"),
        "num_classes": 2,
        "class_names": None,
        "counts": [3, 3],
        "step": 0,
    }
    network = assemble.network(recipe, 2, load_weights=False)
    save_checkpoint(run.model(0), network.state_dict(), {}, facts)
    opened = open_model(run.model(0))
    for name in ("labelled", "val", "test", "unlabelled"):
        before = read_embeddings(run.embedded(0, name), mmap=False)
        found = embed_photographs(opened, [run.table.path(int(row)) for row in before.rows])
        write_embeddings(run.embedded(0, name), dataclasses.replace(before, features=_centred(found.features)))
    return run


def _centred(features: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(features, dtype=np.float32)


def test_products_are_the_labelled_classes_those_of_val_and_the_new_ones(run: RunFiles) -> None:
    found = known_and_found(run, 0)
    assert found.names == ("Soap", "Oat milk", "Rice", "Dates", "new 2", "new 7")
    assert found.category_ids.tolist() == [*KNOWN, *VAL, -1, -1]
    assert found.clusters.tolist() == [-1, -1, -1, -1, 2, 7]
    table = run.table
    assert [int(table.labels[row]) for row in found.rows[:4]] == [*KNOWN, *VAL]
    # The nearest to the mean of cluster 2 is one of its two images of Salt, not the Oat milk among them.
    assert [int(table.true_labels[row]) for row in found.rows[4:]] == [5, 2]
    assert np.linalg.norm(found.means, axis=1) == pytest.approx(1)


def test_a_review_of_the_last_round_is_obeyed(run: RunFiles) -> None:
    file = write_review(run, 0)
    table = file.read_text().replace("new 7,keep,,", "new 7,keep,,Tea tin").replace("new 2,keep", "new 2,drop")
    file.write_text(table)
    assert known_and_found(run, 0).names == ("Soap", "Oat milk", "Rice", "Dates", "Tea tin")


def test_a_photograph_joins_the_nearest_product_from_the_threshold_on(run: RunFiles) -> None:
    products, axes = known_and_found(run, 0), np.eye(len(NAMES))
    photos = np.stack([axes[4], 7 * axes[2], axes[1], axes[6]])
    answers = answers_of(run, products, JoinRule(0.9, 1.0, 1.0), photos, list("abcd"))
    assert [(one.photo, one.kind, one.name) for one in answers] == [
        ("a", "known", "Soap"),
        ("b", "new", "new 7"),
        ("c", "unknown", answers[2].name),
        ("d", "known", "Rice"),
    ]
    assert [one.category_id for one in answers[:2]] == [4, None]
    assert [one.cluster for one in answers[:2]] == [None, 7]
    assert all(one.cosine is not None and one.cosine > 0.99 for one in (answers[0], answers[1], answers[3]))
    [first] = answers_of(run, products, JoinRule(0.9, 1.0, 1.0), axes[:1], ["e"])
    assert (first.kind, first.category_id, first.cluster) == ("known", 0, None)
    assert answers[0].second
    assert answers[0].second_cosine is not None
    assert answers[0].second_cosine < answers[0].cosine  # type: ignore[operator]
    strict = answers_of(run, products, JoinRule(None, None, None, "too few"), photos, list("abcd"))
    assert {one.kind for one in strict} == {"unknown"}
    assert answers_of(run, products, JoinRule(0.9, 1, 1), np.empty((0, len(NAMES))), []) == []


def test_the_threshold_is_learned_on_classes_kept_for_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [one for one in pictures() if one.role != "val"]
    run = write_run(tmp_path, [*images, *(Picture(category, "val") for category in (0, 1, 6, 7) for _ in range(6))])
    rule = photo_rule(run, 0, 1.0)
    # Images of a class all but agree, those of others are at right angles.
    assert rule.threshold is not None
    assert 0.9 < rule.threshold <= 1
    assert rule.precision == rule.coverage == 1
    assert "on val 100% of those that join are right" in caplog.text


def test_photographs_go_to_the_products_whose_pictures_they_resemble(
    with_model: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for name, category in (("soap", 4), ("tea", 2)):
        Image.new("RGB", (40, 30), colour(category, 2)).save(tmp_path / "photos" / f"{name}.jpg", quality=95)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    # Plain colours are too few classes for a threshold to mean anything.
    monkeypatch.setattr(pipeline, "photo_rule", lambda *_: JoinRule(-1.0, 1.0, 1.0))
    answers = assign(with_model.folder, [tmp_path / "photos"])
    assert [(Path(one.photo).name, one.kind, one.name) for one in answers] == [
        ("broken.jpg", None, ""),
        ("soap.jpg", "known", "Soap"),
        ("tea.jpg", "new", "new 7"),
    ]
    assert answers[0].error == "not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image"
    assert answers[2].cosine is not None
    assert answers[2].cosine > 0.99
    headings, rows = assigned_rows(answers)
    assert headings[:3] == ["photo", "is", "product"]
    assert [row[1:3] for row in rows] == [["known", "Soap"], ["new", "new 7"]]
    write_assigned(answers, tmp_path / "assigned.csv")
    with open(tmp_path / "assigned.csv", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [row["kind"] for row in written] == ["", "known", "new"]
    assert (written[1]["category_id"], written[1]["cluster"]) == ("4", "")
    assert (written[2]["category_id"], written[2]["cluster"]) == ("", "7")
    assert written[0]["error"] == answers[0].error


def test_a_run_that_is_not_there_or_not_done_is_told(run: RunFiles, tmp_path: Path) -> None:
    photo = tmp_path / "images"
    with pytest.raises(UserError, match=r"is not a discovery run: it has no sets\.json"):
        assign(tmp_path, [photo])
    (run.stage(0, "report") / "manifest.json").unlink()
    with pytest.raises(UserError, match="has no finished round yet"):
        assign(run.folder, [photo])
