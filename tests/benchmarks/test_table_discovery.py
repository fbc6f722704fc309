"""The table of `make table-discovery`: gains, verdicts and the page, of made-up runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import table_discovery
from table_discovery import (
    BEGIN,
    CONTROL,
    DEFAULT,
    END,
    ORIGINAL,
    PAGE,
    RECIPES,
    ROOT,
    Measured,
    Run,
    claims_of,
    gain,
    gains_by_seed,
    require_same_budget,
    table_text,
    write_between_markers,
)

NUM_SEEDS, NUM_QUERIES = 3, 400


def report(coverage: float) -> dict[str, Any]:
    return {
        "selection": {"coverage": coverage},
        "truth": {
            "selection": {"all": {"pairwise_precision": 0.75}},
            "new_classes": {"num_new_classes_found": 12, "num_new_classes": 60},
        },
    }


def made_up(recipe: str, *shares: float) -> Measured:
    """A recipe that is right on these shares of the queries in each round; a greater share has a lesser one within.

    The products of the easier half of the queries are in the pool.
    """
    ease = np.random.default_rng(0).permutation(NUM_QUERIES) / NUM_QUERIES
    hits = np.array([ease < share for share in shares])
    seeds = np.arange(NUM_QUERIES) % NUM_SEEDS + 1
    return Measured(recipe, hits, seeds, ease < 0.5, [[report(share) for _ in range(NUM_SEEDS)] for share in shares])


def test_the_gains_by_seed_are_those_of_each_shops_own_queries() -> None:
    hits = np.array([[False, True, False, False, True], [True, True, False, True, False]])
    found = Measured(DEFAULT, hits, np.array([1, 1, 2, 2, 3]), np.ones(5, dtype=bool), [])
    assert gains_by_seed(found, 1) == "+50.0, +50.0, -100.0"


def test_a_gain_is_paired_by_query_and_its_interval_holds_it() -> None:
    better, worse = made_up("a", 0.5, 0.6).hits[1], made_up("a", 0.5, 0.6).hits[0]
    mean, (low, high) = gain(better, worse)
    assert mean == pytest.approx(0.1)
    assert low < mean < high
    # Of pairs the width follows sqrt(p (1 - p) / N) of the difference alone, not of the scores.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1 * 0.9 / NUM_QUERIES), rel=0.15)
    assert gain(better, better) == (0.0, (0.0, 0.0))


def test_claims_are_judged_by_their_intervals_in_every_round() -> None:
    rises, stays = made_up(DEFAULT, 0.5, 0.7), made_up(DEFAULT, 0.5, 0.501)
    held = claims_of(rises, made_up(ORIGINAL, 0.5, 0.55), made_up(CONTROL, 0.5, 0.6))
    assert [claim.startswith("- held") for claim in held] == [True, True, True]
    assert "+20.0" in held[0]
    assert "+15.0" in held[1]
    assert "+10.0" in held[2]
    failed = claims_of(stays, made_up(ORIGINAL, 0.5, 0.55), made_up(CONTROL, 0.5, 0.6))
    assert [claim.startswith("- **failed**") for claim in failed] == [True, True, True]
    falls = claims_of(
        made_up(DEFAULT, 0.5, 0.7, 0.5), made_up(ORIGINAL, 0.5, 0.55, 0.45), made_up(CONTROL, 0.5, 0.5, 0.6)
    )
    assert [claim.startswith("- held") for claim in falls] == [True, True, True, False, True, False]


def test_the_table_has_a_row_a_round_and_says_what_was_found() -> None:
    found = [made_up(DEFAULT, 0.5, 0.7, 0.8), made_up(ORIGINAL, 0.5, 0.5, 0.5), made_up(CONTROL, 0.5, 0.5, 0.5)]
    text = table_text(found, "Where and when.")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("|")[1].strip() for line in rows] == [f"`{name}`" for name in RECIPES for _ in range(3)]
    assert "+30.0" in rows[2]
    assert "| 100.0 | 60.0 |" in rows[2]
    assert "12 of 60 / 12 of 60 / 12 of 60" in rows[2]
    assert "Where and when." in text
    assert all(line.count("|") == rows[0].count("|") for line in text.splitlines() if line.startswith("|"))


def test_the_page_keeps_all_but_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between_markers(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.write_text("no place")
    with pytest.raises(UserError, match="no place for the table"):
        write_between_markers(page, "new")
    assert BEGIN in PAGE.read_text(encoding="utf-8")


def test_all_recipes_have_the_same_budget_and_another_one_is_refused(tmp_path: Path) -> None:
    runs = [Run(recipe, seed, 3, tmp_path) for recipe in RECIPES for seed in (0, 1)]
    require_same_budget(runs)
    assert [run.options.seed for run in runs] == [0, 1] * 3
    assert [run.options.data.root.name for run in runs] == ["data_seed0", "data_seed1"] * 3
    assert {run.options.discovery.rounds for run in runs} == {3}

    @dataclass(frozen=True)
    class Longer:
        recipe: str
        options: Recipe

    file = ROOT / "configs" / "discovery" / "shop_original.yaml"
    longer = Longer("longer", load(Recipe, file, [parse_override("train.num_epochs=99")]).config)
    with pytest.raises(UserError, match="differ in train"):
        require_same_budget([runs[0], longer])  # type: ignore[list-item]


def test_the_hits_are_those_of_a_plain_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(30, 4)).astype(np.float32), generator.integers(0, 5, 30)

    class Stored:
        def read_embeddings(self, number: int, name: str) -> Any:
            assert (number, name) == (1, "test")
            return type("Embeddings", (), {"features": features, "labels": labels})

    monkeypatch.setattr(Run, "files", Stored())
    hits = table_discovery._hits(Run(DEFAULT, 0, 2, tmp_path), 1)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row in range(30):
        others = [other for other in range(30) if other != row]
        nearest = max(others, key=lambda other: units[row] @ units[other])
        assert hits[row] == (labels[nearest] == labels[row])
