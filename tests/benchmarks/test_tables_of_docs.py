"""The tables of discovery and of the long tail in docs/: scores, verdicts and claims, of made-up runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import plain as plain_json
from shelfmark.core.files import write_json
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.recipe.input_settings import disagreement

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import table_discovery
import table_discovery_grocery
import table_longtail
from discovery_rows import DiscoveryRun, Measured, budget, gain, text_of
from discovery_rows import made as made_runs
from discovery_rows import planned as planned_discovery
from longtail_rows import Images, Method, claims_of, rows_of, table_text
from table_discovery import CONTROL, DEFAULT, ORIGINAL
from table_discovery_grocery import GroceryRun
from table_longtail import Training, planned, shop_recipes
from table_runner import ROOT, require_same_budget, write_between_markers

NUM_CLASSES, PER_CLASS, NUM_SEEDS, NUM_QUERIES = 30, 10, 3, 400
ALL = np.ones(NUM_QUERIES, dtype=bool)
LABELS = torch.arange(NUM_CLASSES).repeat_interleave(PER_CLASS)
IMAGES = Images(LABELS, torch.tensor([200] * 10 + [50] * 10 + [5] * 10), many=100, few=20)


def method(name: str, many: float, medium: float, few: float, is_post_hoc: bool = False) -> Method:
    """Right on about these shares of a group's images; a method with greater shares is right wherever a lesser is."""
    ease = torch.from_numpy(np.random.default_rng(0).permutation(len(LABELS)) / len(LABELS))
    noise = torch.from_numpy(np.random.default_rng(len(name)).random((NUM_SEEDS, len(LABELS)))) / 20
    share = torch.tensor([many, medium, few]).repeat_interleave(10)[LABELS]
    return Method(name, ease + noise < share, [0.1, 0.2, 0.3], is_post_hoc)


PLAIN = method("plain", 0.9, 0.6, 0.2)
TWO_STAGE, BALANCED = method("two_stage", 0.8, 0.7, 0.5), method("balanced_softmax", 0.7, 0.7, 0.6)
CRT, LWS = method("crt", 0.8, 0.7, 0.4, is_post_hoc=True), method("lws", 0.8, 0.6, 0.5, is_post_hoc=True)


def test_the_long_tail_scores_are_those_of_the_evaluation_and_the_best_come_first() -> None:
    rows = rows_of([LWS, TWO_STAGE, PLAIN, CRT, BALANCED], IMAGES)
    assert rows[0].method is PLAIN
    assert [row.method.is_post_hoc for row in rows] == [False, False, False, True, True]
    for row in rows:
        scores = []
        for hits in row.method.hits:
            counted = ClassCounts(NUM_CLASSES)
            predicted = torch.where(hits, LABELS, (LABELS + 1) % NUM_CLASSES)
            counted.add(torch.zeros(len(LABELS), NUM_CLASSES).scatter(1, predicted[:, None], 1), LABELS)
            scores.append(counted.scores(IMAGES.counts, IMAGES.many, IMAGES.few))
        for name in ("mean_class_accuracy", "many", "medium", "few"):
            assert row.scores[name] == pytest.approx(np.mean([one[name] for one in scores]))
            assert row.intervals[name][0] <= row.scores[name] <= row.intervals[name][1]
        gained = row.gain["mean_class_accuracy"]
        assert gained == pytest.approx(row.scores["mean_class_accuracy"] - rows[0].scores["mean_class_accuracy"])
        assert np.mean(row.seed_gains) == pytest.approx(gained)
    lines = table_text(rows, claims_of(rows), "Percent.").splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {10}
    assert sum(line.startswith("- held: ") for line in lines) == 4


def test_a_long_tail_claim_fails_where_the_figures_do_not_bear_it_and_is_open_where_there_are_none() -> None:
    worse, level = method("two_stage", 0.8, 0.6, 0.2), method("balanced_softmax", 0.9, 0.6, 0.2)
    rows = rows_of([PLAIN, worse, level, CRT], IMAGES)
    claims = claims_of(rows)
    assert [claim.held for claim in claims] == [False, False, False, True]
    assert rows[1].verdict == "no clear difference"
    assert str(claims[0]).startswith("- **failed**: `two_stage` beats plain")
    assert [claim.held for claim in claims_of(rows_of([PLAIN, TWO_STAGE], IMAGES))] == [True, None, None, True]


def made_up(recipe: str, *shares: float) -> Measured:
    """A recipe that is right on these shares of the queries in each round; a greater share has a lesser one within."""
    ease = np.random.default_rng(0).permutation(NUM_QUERIES) / NUM_QUERIES
    new = {"num_new_classes_found": 12, "num_new_classes": 60}
    truth = {"selection": {"all": {"pairwise_precision": 0.75}}, "new_classes": new}
    reports: list[dict[str, Any]] = [{"selection": {"coverage": 0.5}, "truth": truth}] * NUM_SEEDS
    hits = np.array([ease < share for share in shares])
    return Measured(
        recipe, hits, hits / 2, np.arange(NUM_QUERIES) % NUM_SEEDS + 1, ease < 0.5, [reports for _ in shares]
    )


def grocery_runs(work: Path, recipes: Sequence[str]) -> list[DiscoveryRun]:
    return planned_discovery(GroceryRun, recipes, [1], work=work, rounds=2, source=work / "nowhere")


def test_a_gain_of_discovery_is_paired_by_query_and_its_claims_are_judged_in_every_round() -> None:
    worse, better = made_up("a", 0.5, 0.6).hits
    mean, (low, high) = gain(better, worse)
    assert mean == pytest.approx(0.1)
    assert low < mean < high
    # Of pairs the width follows sqrt(p (1 - p) / N) of the difference alone, not of the scores.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / NUM_QUERIES), rel=0.15)
    found = [made_up(DEFAULT, 0.5, 0.7, 0.5), made_up(ORIGINAL, 0.5, 0.55, 0.45), made_up(CONTROL, 0.5, 0.5, 0.6)]
    text = text_of(found, "Where and when.", table_discovery.claims_of(*found))
    held = [line.startswith("- held") for line in text.splitlines() if line.startswith("- ")]
    assert held == [True, True, True, False, True, False]
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| `")]
    assert rows[1][4].startswith("+20.0 (")
    assert rows[1][6].startswith("35.0 (")
    assert rows[1][7:9] == ["100.0", "40.0"]
    assert rows[8][11] == "12 of 60 / 12 of 60 / 12 of 60"


def test_the_grocery_table_says_what_is_gained_over_the_control_on_every_seed() -> None:
    default, control = (replace(made_up(name, 0.5, 0.7), in_pool=ALL) for name in table_discovery_grocery.RECIPES)
    # The control is right where the default is, but on the queries of seed 2.
    hits = np.array([control.hits[0], control.hits[1] & (control.seeds != 2)])
    control = replace(control, hits=hits, map_at_r=hits / 2)
    lost = [(control.hits[1] < default.hits[1])[control.seeds == seed].mean() for seed in (1, 2, 3)]
    before = default.hits[0] | (default.seeds == 1)
    claims = table_discovery_grocery.claims_of(default, control, before)
    assert [claim.held for claim in claims] == [True, True, True, False]
    assert claims[1].figures.endswith(f"; by seed +0.0, {100 * lost[1]:+.1f}, +0.0")
    turned = table_discovery_grocery.claims_of(control, default, ~ALL)
    assert [claim.held for claim in turned] == [False, False, False, True]
    text = text_of([default, control], "Where and when.", turned, (before, before / 4))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {10}
    assert lines[2].startswith(f"| before any training |  | {100 * before.mean():.1f} (")
    assert f"| {25 * before.mean():.1f} (" in lines[2]
    assert "in the pool" not in text


def test_the_grocery_control_differs_in_nothing_but_what_is_selected(tmp_path: Path) -> None:
    recipes = table_discovery_grocery.RECIPES
    runs = grocery_runs(tmp_path, recipes)
    require_same_budget(runs, table_discovery_grocery.budget)
    default, control = (run.options.model_dump(mode="json") for run in runs)
    assert (default.pop("name"), control.pop("name")) == ("grocery_seed1", "grocery_labelled_seed1")
    chosen = control["discovery"].pop("selection")
    assert chosen == default["discovery"].pop("selection") | {"density_threshold": 2.0, "join_known": False}
    assert default == control
    assert [disagreement(run.options) for run in runs] == ["", ""]
    assert default["data"]["root"] == str(tmp_path / "data_seed1")
    assert default["discovery"]["annotations"] == str(tmp_path / "data_seed1" / "discovery.json")


@pytest.mark.parametrize(
    "part", ["model: {pooling: {name: gem}}", "train: {num_epochs: 9}", "discovery: {val_classes: 0.5}"]
)
def test_a_control_with_another_budget_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    made: list[str] = []
    monkeypatch.setattr(GroceryRun, "make", lambda run, threads: made.append(run.recipe) or 1.0)
    file = tmp_path / "other.yaml"
    file.write_text(f"_base_: {ROOT}/configs/discovery/grocery.yaml\n{part}\n")
    runs = grocery_runs(tmp_path, ["grocery"])
    with pytest.raises(UserError, match=rf"grocery_labelled.yaml and grocery.yaml differ in {part.split(':')[0]}"):
        made_runs([*runs, replace(runs[0], recipe="grocery_labelled", file=file)], table_discovery_grocery.budget)
    assert made == []
    assert not (tmp_path / "data_seed1").exists()


def test_the_table_takes_the_place_between_the_markers_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n")
    write_between_markers(page, "x", "new")
    assert page.read_text() == "before\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nafter\n"
    page.write_text(wrong := "<!-- x: end --> <!-- x: begin -->")
    with pytest.raises(UserError, match="no place for the table"):
        write_between_markers(page, "x", "new")
    assert page.read_text() == wrong
    for table in (table_discovery, table_discovery_grocery, table_longtail):
        assert table.PAGE.read_text(encoding="utf-8").count(f"<!-- {table.NAME}: ") == 2


def test_recipes_of_one_table_share_a_budget_and_another_one_is_refused(tmp_path: Path) -> None:
    runs = table_discovery.planned(table_discovery.ShopRun, table_discovery.RECIPES, [0, 1], work=tmp_path, rounds=3)
    require_same_budget(runs, budget)
    assert [run.options.data.root.name for run in runs] == ["data_seed0", "data_seed1"] * 3
    require_same_budget(planned(shop_recipes(table_longtail.RECIPES), [], [0], tmp_path), table_longtail.budget)
    (tmp_path / "plain.yaml").write_text("name: plain\ndata: {generated: shop}\ntrain: {num_epochs: 6}\n")
    (tmp_path / "long.yaml").write_text("_base_: plain.yaml\ntrain: {num_epochs: 7}\n")
    (tmp_path / "other.yaml").write_text("name: other\ntrain: {num_epochs: 7}\n")
    longer = planned(shop_recipes(tmp_path), [], [0], Path("work"))
    assert [run.recipe for run in longer] == ["plain", "long"]
    with pytest.raises(UserError, match=r"long.yaml and plain.yaml differ in train.num_epochs"):
        require_same_budget(longer, table_longtail.budget)
    with pytest.raises(UserError, match="Did you mean 'long'"):
        planned(shop_recipes(tmp_path), ["lang"], [0], Path("work"))


def test_a_run_that_is_there_is_not_made_again_and_one_of_other_options_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(Training, "make", lambda run, threads: made.append((run.recipe, run.seed)) or 1.0)
    runs = planned(shop_recipes(table_longtail.RECIPES), ["crt"], [0, 1], tmp_path)
    done = runs[2]
    write_json(done.folder / "summary.json", {})
    config = plain_json(done.options.model_dump(mode="json"))
    write_json(done.folder / "best_model" / "manifest.json", {"config": config})
    table_longtail.train_missing(runs, jobs=2)
    assert sorted(made) == [("crt", 1), ("plain", 0), ("plain", 1)]
    write_json(done.folder / "best_model" / "manifest.json", {"config": {**config, "seed": 5}})
    with pytest.raises(UserError, match="was trained with other options than crt.yaml gives now"):
        table_longtail.train_missing(runs)


def test_only_the_whole_table_is_written_unless_it_is_asked_for() -> None:
    for words, write in (([], True), (["--only", "crt"], False), (["--smoke"], False), (["--smoke", "--write"], True)):
        assert table_longtail._parsed(words).write is write
