"""The table of `make table-longtail`: rows, verdicts and claims of made-up runs, and which runs it would train."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import plain as plain_json
from shelfmark.core.files import write_json
from shelfmark.ops.class_metrics import ClassCounts

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import table_longtail
from longtail_rows import (
    BEGIN,
    END,
    Claim,
    Images,
    Method,
    Row,
    claims_of,
    rows_of,
    table_text,
    write_between_markers,
)
from table_longtail import Run, planned, require_same_budget, shop_recipes

NUM_CLASSES, PER_CLASS, NUM_SEEDS = 30, 10, 3
LABELS = torch.arange(NUM_CLASSES).repeat_interleave(PER_CLASS)
IMAGES = Images(LABELS, torch.tensor([200] * 10 + [50] * 10 + [5] * 10), many=100, few=20)


def method(name: str, many: float, medium: float, few: float, is_post_hoc: bool = False) -> Method:
    """Right on about these shares of a group's images; a method with greater shares is right wherever a lesser is."""
    ease = torch.from_numpy(np.random.default_rng(0).permutation(len(LABELS)) / len(LABELS))
    noise = torch.from_numpy(np.random.default_rng(len(name)).random((NUM_SEEDS, len(LABELS)))) / 20
    share = torch.tensor([many, medium, few]).repeat_interleave(10)[LABELS]
    return Method(name, ease + noise < share, [0.1, 0.2, 0.3], is_post_hoc)


PLAIN = method("plain", 0.9, 0.6, 0.2)
BETTER = [
    method("two_stage", 0.8, 0.7, 0.5),
    method("balanced_softmax", 0.7, 0.7, 0.6),
    method("crt", 0.8, 0.7, 0.4, is_post_hoc=True),
    method("lws", 0.8, 0.6, 0.5, is_post_hoc=True),
]


def verdicts(claims: list[Claim]) -> list[bool | None]:
    return [claim.held for claim in claims]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of([BETTER[3], BETTER[0], PLAIN, BETTER[2], BETTER[1]], IMAGES)


def test_plain_comes_first_then_trainings_then_what_comes_after_training_the_best_first(rows: list[Row]) -> None:
    names = [(row.method.name, row.method.is_post_hoc) for row in rows]
    expected = [("plain", False), ("balanced_softmax", False), ("two_stage", False), ("lws", True), ("crt", True)]
    assert names[0] == expected[0]
    assert set(names) == set(expected)
    for part in (rows[1:3], rows[3:]):
        assert part[0].scores["mean_class_accuracy"] >= part[1].scores["mean_class_accuracy"]
    assert [row.method.is_post_hoc for row in rows] == [False, False, False, True, True]


def test_a_score_is_the_mean_over_the_seeds_of_the_evaluation_s_score(rows: list[Row]) -> None:
    for row in rows:
        scores = []
        for hits in row.method.hits:
            counted = ClassCounts(NUM_CLASSES)
            logits = torch.zeros(len(LABELS), NUM_CLASSES)
            predicted = torch.where(hits, LABELS, (LABELS + 1) % NUM_CLASSES)
            counted.add(logits.scatter(1, predicted[:, None], 1), LABELS)
            scores.append(counted.scores(IMAGES.counts, IMAGES.many, IMAGES.few))
        for name in ("mean_class_accuracy", "many", "medium", "few"):
            assert row.scores[name] == pytest.approx(np.mean([one[name] for one in scores]))
            assert row.intervals[name][0] <= row.scores[name] <= row.intervals[name][1]


def test_the_gains_of_the_seeds_have_the_mean_gain_and_that_is_the_difference_of_the_scores(rows: list[Row]) -> None:
    for row in rows:
        gain = row.gain["mean_class_accuracy"]
        assert np.mean(row.seed_gains) == pytest.approx(gain)
        difference = row.scores["mean_class_accuracy"] - rows[0].scores["mean_class_accuracy"]
        assert gain == pytest.approx(difference)


def test_the_verdict_is_by_the_interval_of_the_gain(rows: list[Row]) -> None:
    row = rows[1]
    for interval, verdict in (
        ((0.01, 0.05), "better"),
        ((-0.05, -0.01), "worse"),
        ((-0.01, 0.05), "no clear difference"),
        ((0.0, 0.05), "no clear difference"),
        (None, "no clear difference"),
    ):
        assert replace(row, gain_interval=interval).verdict == verdict
    # The same hits a little shuffled are neither better nor worse.
    same = rows_of([PLAIN, method("another", 0.9, 0.6, 0.2)], IMAGES)[1]
    assert same.verdict == "no clear difference"


def test_all_claims_hold_of_methods_that_are_so_much_better(rows: list[Row]) -> None:
    claims = claims_of(rows)
    assert verdicts(claims) == [True] * 4
    assert all(str(claim).startswith("- held: ") for claim in claims)


def test_a_claim_that_the_figures_do_not_bear_is_published_as_failed() -> None:
    worse = method("two_stage", 0.8, 0.6, 0.2)
    level = method("balanced_softmax", 0.9, 0.6, 0.2)
    alone = BETTER[2]
    claims = claims_of(rows_of([PLAIN, worse, level, alone], IMAGES))
    assert verdicts(claims) == [False, False, False, True]
    assert str(claims[0]).startswith("- **failed**: `two_stage` beats plain")
    assert "`crt`" in claims[2].figures
    assert claims_of(rows_of([PLAIN], IMAGES))[3].held is False


def test_a_claim_about_what_was_not_measured_is_neither_held_nor_failed() -> None:
    claims = claims_of(rows_of([PLAIN, BETTER[0]], IMAGES))
    assert verdicts(claims) == [True, None, None, True]
    assert str(claims[1]).startswith("- not measured: `balanced_softmax`")


def test_a_recipe_and_a_recalibration_of_the_same_name_are_two_rows() -> None:
    trained = method("crt", 0.7, 0.7, 0.7)
    text = table_text(rows_of([PLAIN, trained, BETTER[2]], IMAGES), [], "Percent.")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:5]] == ["`plain`", "`crt`", "plain + `crt`"]


def test_the_table_has_as_many_cells_in_each_line_and_plain_gains_nothing(rows: list[Row]) -> None:
    lines = table_text(rows, claims_of(rows), "Percent.").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {10}
    cells = [cell.strip() for cell in table[2].split("|")[1:-1]]
    low, high = rows[0].intervals["few"]
    assert cells[4] == f"{100 * rows[0].scores['few']:.1f} ({100 * low:.1f} - {100 * high:.1f})"
    assert cells[5:] == ["20.0 [10.0 .. 30.0]", "", "", ""]
    first = [cell.strip() for cell in table[3].split("|")[1:-1]]
    assert first[6] == rows[1].gain_text
    assert first[6].startswith("+")
    assert first[8] == "better"
    assert sum(line.startswith("- held: ") for line in lines) == 4


def test_the_table_takes_the_place_between_the_markers_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n")
    write_between_markers(page, "| new |")
    assert page.read_text() == f"# Before\n\n{BEGIN}\n\n| new |\n\n{END}\n\nafter\n"
    write_between_markers(page, "| new |")
    assert page.read_text().count("new") == 1
    page.write_text(f"{END} {BEGIN}")
    with pytest.raises(UserError, match="no place for the table"):
        write_between_markers(page, "| new |")
    assert page.read_text() == f"{END} {BEGIN}"


def test_the_page_has_the_place() -> None:
    text = table_longtail.PAGE.read_text()
    assert (text.count(BEGIN), text.count(END)) == (1, 1)
    assert text.index(BEGIN) < text.index(END)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Path]:
    return shop_recipes(table_longtail.RECIPES)


def test_every_recipe_of_the_shop_is_trained_with_every_seed_and_no_other(recipes: dict[str, Path]) -> None:
    assert next(iter(recipes)) == "plain"
    assert {"two_stage", "balanced_softmax", "crt"} <= set(recipes)
    assert "cifar100_lt" not in recipes
    runs = planned(recipes, [], [0, 4], Path("work"))
    assert [(run.recipe, run.seed) for run in runs] == [(name, seed) for name in recipes for seed in (0, 4)]
    assert len({run.folder for run in runs}) == len(runs)


def test_only_some_are_trained_where_some_are_named_and_plain_with_them(recipes: dict[str, Path]) -> None:
    assert [run.recipe for run in planned(recipes, ["crt"], [0], Path("work"))] == ["plain", "crt"]
    assert [run.recipe for run in planned(recipes, ["calibrate"], [0], Path("work"))] == ["plain"]
    with pytest.raises(UserError, match="Did you mean 'two_stage'"):
        planned(recipes, ["two_stages"], [0], Path("work"))


def test_a_recipe_with_another_number_of_epochs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("name: plain\ndata: {generated: shop}\ntrain: {num_epochs: 6}\n")
    (tmp_path / "long.yaml").write_text("_base_: plain.yaml\ntrain: {num_epochs: 7}\n")
    (tmp_path / "same.yaml").write_text("_base_: plain.yaml\noptim: {lr: 0.5}\n")
    recipes = shop_recipes(tmp_path)
    assert list(recipes) == ["plain", "long", "same"]
    require_same_budget(planned(recipes, ["same"], [0], Path("work")))
    with pytest.raises(UserError, match=r"6 in plain.yaml, but otherwise in long 7"):
        require_same_budget(planned(recipes, [], [0], Path("work")))


def test_a_run_that_is_there_is_not_trained_again_and_one_of_other_options_is_refused(
    recipes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(run: Run, threads: int) -> float:
        trained.append((run.recipe, run.seed))
        return 1.0

    monkeypatch.setattr(table_longtail, "_train", train)
    runs = planned(recipes, ["crt"], [0, 1], tmp_path)
    done = runs[2]
    write_json(done.folder / "summary.json", {})
    config = plain_json(done.options.model_dump(mode="json"))
    write_json(done.folder / "best_model" / "manifest.json", {"config": config})
    table_longtail.train_missing(runs, jobs=2)
    assert sorted(trained) == [("crt", 1), ("plain", 0), ("plain", 1)]
    write_json(done.folder / "best_model" / "manifest.json", {"config": {**config, "seed": 5}})
    with pytest.raises(UserError, match="was trained with other options than crt.yaml gives now"):
        table_longtail.train_missing(runs)


def test_a_training_that_fails_names_the_file_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("data: {generated: shop}\nno_such_option: 1\n")
    run = Run("plain", tmp_path / "plain.yaml", 0, tmp_path / "work")
    run.folder.mkdir(parents=True)
    with pytest.raises(UserError, match="plain_seed0 could not be trained; what it said is in .*plain_seed0.txt"):
        table_longtail.train_missing([run])
    assert "no_such_option" in (tmp_path / "work" / "plain_seed0.txt").read_text()


def test_a_smoke_run_says_that_its_figures_mean_nothing(recipes: dict[str, Path]) -> None:
    runs = planned(recipes, ["two_stage"], [0], Path("work"), smoke=True)
    require_same_budget(runs)
    told = table_longtail.provenance(runs, IMAGES, ["--smoke"])
    assert "python benchmarks/table_longtail.py --smoke" in told
    assert "no figure means anything" in told
    assert "seeds 0; 2 epochs each" in told


def test_only_the_whole_table_is_written_unless_it_is_asked_for() -> None:
    for words, write in (([], True), (["--only", "crt"], False), (["--smoke"], False), (["--smoke", "--write"], True)):
        assert table_longtail._parsed(words).write is write
    assert table_longtail._parsed(["--no-write"]).write is False
