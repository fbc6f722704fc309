"""`shelfmark evaluate --post`, on a small run of the shop."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.nn import functional as F

from shelfmark.cli import main
from shelfmark.core.embeddings import read_embeddings
from shelfmark.core.errors import UserError
from shelfmark.pipelines.post_processing import Plan
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.image_pass import evaluation_pass
from shelfmark.runtime.trained_model import open_model

EVALUATE = ["evaluate", "--RESUME_MODEL", "log/base/last", "--out", "scores"]


def test_each_step_has_its_row_and_its_features(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EVALUATE, "--post", "scales"]) == 2
    assert not Path("scores").exists()
    steps = ["flip", "scales", "whiten", "alpha_qe,dba", "k_reciprocal"]
    assert main([*EVALUATE, "predict.sizes_px=[32,40]", "--whiten-dim", "16", "--post", *steps]) == 0
    printed = capsys.readouterr().out
    rows = list(csv.DictReader(Path("scores/post_processing.csv").read_text().splitlines()))
    names = ["plain", "flip", "scales", "whiten", "alpha_qe", "dba", "k_reciprocal"]
    assert [row["step"] for row in rows] == names
    assert all(f"+ {name} " in printed for name in names[1:])
    summary = json.loads(Path("scores/summary.json").read_text())
    for name in ("recall@1", "map"):
        assert float(rows[0][name]) == pytest.approx(summary[name], abs=1e-6)
    assert len({row["map"] for row in rows}) == len(rows)
    assert all(float(row["seconds"]) > 0 for row in rows)

    folders = {folder.name for folder in Path("scores/embeddings").iterdir() if folder.is_dir()}
    assert folders == {"val", "retrieval", "retrieval_flip_32px", "retrieval_flip_40px"}
    facts = [read_embeddings(Path("scores/embeddings") / one).manifest["facts"] for one in folders]
    assert {(one["views"], one["data.input_size_px"]) for one in facts} == {("centre", 32), ("flip", 32), ("flip", 40)}
    _is_the_mean_of_both_sides(Path("scores/embeddings/retrieval_flip_40px"))


def _is_the_mean_of_both_sides(folder: Path) -> None:
    opened = open_model(Path("log/base/last"))
    found = read_embeddings(folder).features
    table = assemble.read_table(opened.recipe, "retrieval", num_classes=0)
    recipe = opened.recipe.model_copy(update={"data": opened.recipe.data.model_copy(update={"input_size_px": 40})})
    one_sided = evaluation_pass(recipe, opened.network, opened.precision, assemble.image_source(recipe, table))
    mirrored = replace(one_sided, transform=lambda rgb, seed: one_sided.transform(rgb, seed).flip(-1))
    batches = [next(images.share()) for images in (one_sided, mirrored)]
    sides = [F.normalize(batch.values, dim=1) for batch in batches]
    np.testing.assert_allclose(found[batches[0].rows], ((sides[0] + sides[1]) / 2).numpy(), atol=1e-5)
    assert not np.allclose(sides[0].numpy(), sides[1].numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (["flip", "predict.sizes_px=[32,40]"], {}, r"write predict.sizes_px=\[32,40\] before it"),
        (["flip,scales"], {}, "name the sizes"),
        (["whitening"], {}, "Did you mean 'whiten'"),
        (["flip"], {"whiten_dim": 8}, "no use without the step whiten"),
        (["dba"], {"metric": "euclidean"}, "set eval.retrieval_metric=cosine instead of euclidean"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(words: list[str], options: dict[str, Any], message: str) -> None:
    recipe = Recipe.model_validate({"eval": {"retrieval_metric": options.get("metric", "cosine")}})
    with pytest.raises(UserError, match=message):
        Plan.of(words, options.get("whiten_dim", 0), recipe)


def test_a_plan_without_steps_asks_for_nothing_of_the_recipe() -> None:
    assert Plan.of([], 0, Recipe.model_validate({"eval": {"retrieval_metric": "euclidean"}})).steps == ()
    assert Plan.of(["flip,whiten", "dba"], 8, Recipe()) == Plan(("flip", "whiten", "dba"), 8)
