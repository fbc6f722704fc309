"""What discovery reaches on shops, round by round: the default, the original's recipe in the same budget, a control.

    make table-discovery

Every seed has a generated shop of its own; the recipe was sought on those of seeds 0 to 3, which the table leaves out.
Score: Recall@1 on pictures of products that were never labelled, each searched among all others of its shop. A stage
that is done is not done again, so the command can be stopped and gone on with; a run that was made with other options
is refused. Ends with the table and its claims in docs/discovery.md, between the two markers there.
Legend: R rounds, N queries of all shops together.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from table_runner import (
    ROOT,
    Claim,
    Run,
    Span,
    gain_text,
    made_by,
    parser_of,
    percent,
    publish,
    require_same_budget,
    run_as_script,
    signed,
    table_text,
)

from shelfmark.config.overrides import Override
from shelfmark.core.files import read_json
from shelfmark.evaluation.retrieval import search_scores
from shelfmark.ops.bootstrap import mean_intervals
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides
from shelfmark.recipe import Recipe
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.shop import generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop

PAGE = ROOT / "docs" / "discovery.md"
NAME = "table-discovery"
DEFAULT, ORIGINAL, CONTROL = RECIPES = "shop", "shop_original", "shop_labelled"
SEEDS = [4, 5, 6]
SAME = ("data", "augment", "optim", "train")
"""Parts of the recipe, but for the shop's folder, that methods share, or the comparison would mean nothing."""


@dataclass(frozen=True)
class DiscoveryRun(Run):
    """A recipe of discovery on the shop of a seed."""

    rounds: int = field(kw_only=True)

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.folder)

    @property
    def data(self) -> Path:
        """The shop, which all recipes share."""
        return self.work / f"data_seed{self.seed}"

    @property
    def command(self) -> str:
        return "discover"

    @property
    def overrides(self) -> list[str]:
        shop = [] if self.smoke else [f"data.root={self.data}", f"discovery.annotations={self.data / DISCOVERY_SHOP}"]
        return [*super().overrides, *shop, f"discovery.rounds={self.rounds}"]

    def smaller(self, recipe: Recipe) -> list[Override]:
        return discovery_smoke_overrides(recipe)


@dataclass(frozen=True, eq=False)
class Measured:
    """hits: (R, N) bool, whether each query's nearest picture is of its product, by round.

    seeds: (N,) int64, the seed of the query's shop. in_pool: (N,) bool, whether unlabelled pictures show the query's
    product, so that it can be found. truth: for each round and seed what report.json says of the selection.
    """

    recipe: str
    hits: np.ndarray
    seeds: np.ndarray
    in_pool: np.ndarray
    truth: list[list[dict[str, Any]]]


def main(words: Sequence[str] | None = None) -> None:
    options = _parsed(words)
    runs = planned(options.seeds, options.rounds, options.work, options.smoke)
    require_same_budget(runs, budget)
    for run in runs:
        _make(run)
    found = [measured([run for run in runs if run.recipe == recipe]) for recipe in RECIPES]
    publish(PAGE, NAME, text_of(found, provenance(runs, found, words)), options.write)


def planned(seeds: Sequence[int], rounds: int, work: Path, smoke: bool = False) -> list[DiscoveryRun]:
    """A run for each recipe and seed."""
    files = {recipe: ROOT / "configs" / "discovery" / f"{recipe}.yaml" for recipe in RECIPES}
    return [
        DiscoveryRun(recipe, file, seed, work, smoke, rounds=rounds) for recipe, file in files.items() for seed in seeds
    ]


def budget(run: Run) -> dict[str, Any]:
    """What the runs must share: data, size, optimizer and length of training."""
    options = run.options.model_dump(mode="json", include=set(SAME))
    del options["data"]["root"]
    return options


def measured(runs: Sequence[DiscoveryRun]) -> Measured:
    """The hits of a recipe's runs, from the embeddings that they stored."""
    hits = [np.concatenate([_hits(run, number) for run in runs]) for number in range(runs[0].rounds)]
    truth = [[read_json(run.files.report(number)) for run in runs] for number in range(runs[0].rounds)]
    in_pool = [_in_pool(run) for run in runs]
    seeds = np.repeat([run.seed for run in runs], [len(of_run) for of_run in in_pool])
    return Measured(runs[0].recipe, np.array(hits), seeds, np.concatenate(in_pool), truth)


def gain(hits: np.ndarray, other: np.ndarray) -> tuple[float, Span]:
    """The mean over the queries of hits (N,) less `other`'s, and its 95% interval over the queries.

    Both are of the same queries, so that what makes a query easy for both cancels.
    """
    of_query = hits.astype(np.float64) - other.astype(np.float64)
    interval = mean_intervals(of_query[:, None], resamples=2000, role="table discovery")[0]
    assert interval is not None
    return float(of_query.mean()), interval


def gains_by_seed(found: Measured, number: int) -> str:
    """Over round 0, in each seed's shop."""
    gains = found.hits[number].astype(np.float64) - found.hits[0]
    return ", ".join(signed(float(gains[found.seeds == seed].mean())) for seed in np.unique(found.seeds))


def claims_of(default: Measured, original: Measured, control: Measured) -> list[Claim]:
    """What is claimed of each round after the first, judged by the figures; a claim that fails says so."""
    claims = []
    for number in range(1, len(default.hits)):
        hits, by_seed = default.hits[number], f"; by seed {gains_by_seed(default, number)}"
        rises = (
            f"with the default, Recall@1 on products never labelled rises from round 0 to round {number} by more than"
            " the interval"
        )
        alone = f"after round {number} it is ahead of as much training on the labelled images alone"
        claims += [
            _ahead(rises, hits, default.hits[0], by_seed),
            _ahead(f"the default is ahead of the original's recipe after round {number}", hits, original.hits[number]),
            _ahead(alone, hits, control.hits[number]),
        ]
    return claims


def text_of(found: Sequence[Measured], provenance: str) -> str:
    """The table, its provenance and the claims, in Markdown."""
    headings = ["recipe", "round", "Recall@1, never labelled", "gain over round 0", "by seed"]
    headings += ["in the pool", "not in it", "selected", "right pairs", "new products found"]
    rows = [_cells(one, number) for one in found for number in range(len(one.hits))]
    return table_text(headings, "l" + "r" * (len(headings) - 1), rows, provenance, claims_of(*found))


def provenance(runs: Sequence[DiscoveryRun], found: Sequence[Measured], words: Sequence[str] | None) -> str:
    """One paragraph: what was run, on what and when."""
    train = runs[0].options.train
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    return (
        f"Percent of the {found[0].hits.shape[1]:,} queries of the shops of seeds {seeds}, with 95% intervals over"
        " queries, of whose products unlabelled pictures are in the pool or are not; selected and right pairs: means"
        " over the shops;"
        f" each round trains {train.num_epochs} epochs of {train.steps_per_epoch} steps of {train.batch_size}"
    ) + made_by("table_discovery.py", runs[0].smoke, words)


def _make(run: DiscoveryRun) -> None:
    """Makes the shop and runs what is missing."""
    if not run.smoke and not is_complete(run.data):
        generate_shop(run.data, run.seed)
    if not run.smoke and not (run.data / DISCOVERY_SHOP).is_file():
        write_discovery_shop(run.data, run.seed)
    threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    print(f"{run.folder.name}: {run.make(threads):.0f} s", flush=True)


def _hits(run: DiscoveryRun, number: int) -> np.ndarray:
    test = run.files.read_embeddings(number, "test")
    return search_scores(QueryGallery.of(test.features, test.labels), (1,)).first_rank <= 1


def _in_pool(run: DiscoveryRun) -> np.ndarray:
    table = run.files.table
    assert table.true_labels is not None
    shown = table.true_labels[run.files.rows("unlabelled")]
    return np.isin(run.files.read_embeddings(0, "test").labels, shown)


def _cells(found: Measured, number: int) -> list[str]:
    hits, first = found.hits[number], found.hits[0]
    mean, (low, high) = gain(hits, np.zeros_like(hits))
    cells = [f"`{found.recipe}`", str(number), f"{percent(mean)} ({percent(low)} - {percent(high)})"]
    if number:
        cells += [gain_text(*gain(hits, first)), gains_by_seed(found, number)]
    else:
        cells += ["", ""]
    cells += [percent(hits[part].mean()) if part.any() else "n/a" for part in (found.in_pool, ~found.in_pool)]
    reports = found.truth[number]
    cells.append(_mean([report["selection"]["coverage"] for report in reports]))
    cells.append(_mean([report["truth"]["selection"]["all"]["pairwise_precision"] for report in reports]))
    new = [report["truth"]["new_classes"] for report in reports]
    cells.append(" / ".join(f"{one['num_new_classes_found']} of {one['num_new_classes']}" for one in new))
    return cells


def _ahead(text: str, hits: np.ndarray, other: np.ndarray, by_seed: str = "") -> Claim:
    mean, interval = gain(hits, other)
    return Claim(text, interval[0] > 0, gain_text(mean, interval) + by_seed)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(sum(known) / len(known)) if known else "n/a"


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(
        "run three recipes of discovery on shops and write their table",
        "log/discovery_table",
        SEEDS,
        "docs/discovery.md",
    )
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each run (default: 2)")
    options = parser.parse_args(words)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: a gain over round 0 needs 2 or more")
    if options.write is None:
        options.write = not options.smoke and options.seeds == SEEDS
    return options


if __name__ == "__main__":
    run_as_script(main)
