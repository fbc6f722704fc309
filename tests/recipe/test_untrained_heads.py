from __future__ import annotations

import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.recipe import Recipe
from shelfmark.recipe.untrained import untrained_heads


def told(*texts: str) -> list[str]:
    return untrained_heads(load(Recipe, None, [parse_override(text) for text in texts]).config)


def test_a_head_that_no_loss_names_is_told_with_both_ways_out():
    [sentence] = told("model.heads={rank: {dim: 8}}")
    assert sentence.startswith("model.heads.rank: no loss trains this head")
    assert "model.heads.rank=null" in sentence
    assert "head: rank" in sentence
    assert told("model.heads={rank: {dim: 8}}", "losses=[{name: smooth_ap, head: rank}]", "eval.metric=recall@1") == []
    assert told() == []


@pytest.mark.parametrize(("metric", "number"), [("top1", 1), ("mean_class_accuracy", 1), ("recall@1", 0), ("none", 0)])
def test_an_untrained_classifier_is_told_where_it_chooses_the_best_model(metric, number):
    ranked = ("model.heads={rank: {dim: 8}}", "losses=[{name: smooth_ap, head: rank}]")
    found = told(*ranked, f"eval.metric={metric}")
    assert len(found) == number
    assert all("Set eval.metric=recall@1" in one for one in found)
