"""What the tables of discovery share: a recipe on the data of a seed, its hits round by round, and the rows of them.

Score: Recall@1 on pictures of products that were never labelled, each searched among all others of its data. A stage
that is done is not done again, so a table can be stopped and gone on with; a run that was made with other options is
refused. Legend: R rounds, N queries of all seeds together.
"""

from __future__ import annotations

import argparse
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from table_runner import ROOT, Claim, Run, Span, gain_text, made_by, percent, require_same_budget, signed, table_text

from shelfmark.config.overrides import Override
from shelfmark.core.contracts import Embeddings
from shelfmark.core.files import read_json
from shelfmark.evaluation.retrieval import search_scores
from shelfmark.ops.bootstrap import mean_intervals
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides
from shelfmark.recipe import Recipe
from shelfmark.retrieval.query_gallery import QueryGallery

PAGE = ROOT / "docs" / "discovery.md"
SAME = ("data", "augment", "sampling", "model", "losses", "optim", "train", "eval")
"""Parts of the recipe, but for the places of the data, that methods share, or the comparison would mean nothing."""


@dataclass(frozen=True)
class DiscoveryRun(Run):
    """A recipe of discovery on the data of a seed."""

    rounds: int = field(kw_only=True)

    @abstractmethod
    def make_data(self) -> None:
        """Makes `data`, with discovery.json in it, where it is missing."""

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.folder)

    @property
    def data(self) -> Path:
        """The folder of the data, which all recipes share."""
        return self.work / f"data_seed{self.seed}"

    @property
    def command(self) -> str:
        return "discover"

    @property
    def overrides(self) -> list[str]:
        data = [f"data.root={self.data}", f"discovery.annotations={self.data / 'discovery.json'}"]
        return [*super().overrides, *([] if self.smoke else data), f"discovery.rounds={self.rounds}"]

    def smaller(self, recipe: Recipe) -> list[Override]:
        return discovery_smoke_overrides(recipe)


@dataclass(frozen=True, eq=False)
class Measured:
    """hits: (R, N) bool, whether each query's nearest picture is of its product, by round. map_at_r: (R, N) float64.

    seeds: (N,) int64, the seed of the query's data. in_pool: (N,) bool, whether unlabelled pictures show the query's
    product, so that it can be found. truth: for each round and seed what report.json says of the selection.
    """

    recipe: str
    hits: np.ndarray
    map_at_r: np.ndarray
    seeds: np.ndarray
    in_pool: np.ndarray
    truth: list[list[dict[str, Any]]]


def options_of(parser: argparse.ArgumentParser, seeds: Sequence[int], words: Sequence[str] | None) -> Any:
    """The parsed options of a table of discovery. seeds: of the whole table, the one that is written into the page."""
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each run (default: 2)")
    options = parser.parse_args(words)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: a gain over round 0 needs 2 or more")
    if options.write is None:
        options.write = not options.smoke and options.seeds == seeds
    return options


def planned(
    run_of: Callable[..., DiscoveryRun], recipes: Sequence[str], seeds: Sequence[int], **options: Any
) -> list[DiscoveryRun]:
    """A run for each recipe and seed. run_of: the class of the runs. options: of each run, but for file and seed."""
    files = {recipe: ROOT / "configs" / "discovery" / f"{recipe}.yaml" for recipe in recipes}
    return [run_of(recipe, file, seed, **options) for recipe, file in files.items() for seed in seeds]


def budget(run: Run) -> dict[str, Any]:
    """What the runs must share: data, size, model, losses, optimizer and length of training."""
    options = run.options.model_dump(mode="json", include=set(SAME))
    del options["data"]["root"]
    return options


def made(runs: Sequence[DiscoveryRun], shared: Callable[[Run], dict[str, Any]] = budget) -> list[Measured]:
    """Makes what is missing of the runs, one after the other, and measures them: one of each recipe.

    shared: what all runs must have alike. UserError: a run has something else; nothing was made then.
    """
    require_same_budget(runs, shared)
    threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    for run in runs:
        if not run.smoke:
            run.make_data()
        print(f"{run.folder.name}: {run.make(threads):.0f} s", flush=True)
    return [measured([run for run in runs if run.recipe == recipe]) for recipe in dict.fromkeys(r.recipe for r in runs)]


def measured(runs: Sequence[DiscoveryRun]) -> Measured:
    """The hits of a recipe's runs, from the embeddings that they stored."""
    scores = [
        search_of([run.files.read_embeddings(number, "test") for run in runs]) for number in range(runs[0].rounds)
    ]
    hits, map_at_r = (np.array(values) for values in zip(*scores))
    truth = [[read_json(run.files.report(number)) for run in runs] for number in range(runs[0].rounds)]
    in_pool = [_in_pool(run) for run in runs]
    seeds = np.repeat([run.seed for run in runs], [len(of_run) for of_run in in_pool])
    return Measured(runs[0].recipe, hits, map_at_r, seeds, np.concatenate(in_pool), truth)


def search_of(of_seeds: Sequence[Embeddings]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool and (N,) float64: hit and MAP@R of each picture as a query among all others of its seed."""
    found = [search_scores(QueryGallery.of(test.features, test.labels), (1,)) for test in of_seeds]
    map_at_r = np.concatenate([one.values["map@r"] for one in found])
    # The only picture of its product finds none.
    return np.concatenate([one.first_rank for one in found]) <= 1, np.nan_to_num(map_at_r)


def gain(hits: np.ndarray, other: np.ndarray) -> tuple[float, Span]:
    """The mean over the queries of hits or scores (N,) less `other`'s, and its 95% interval over the queries.

    Both are of the same queries, so that what makes a query easy for both cancels.
    """
    of_query = hits.astype(np.float64) - other.astype(np.float64)
    interval = mean_intervals(of_query[:, None], resamples=2000, role="table discovery")[0]
    assert interval is not None
    return float(of_query.mean()), interval


def gains_by_seed(found: Measured, number: int, other: np.ndarray | None = None) -> str:
    """Over `other` (N,), or over round 0, on each seed's data."""
    gains = found.hits[number].astype(np.float64) - (found.hits[0] if other is None else other)
    return ", ".join(signed(float(gains[found.seeds == seed].mean())) for seed in np.unique(found.seeds))


def ahead(text: str, hits: np.ndarray, other: np.ndarray, by_seed: str = "") -> Claim:
    """A claim that hits or scores (N,) are more than `other`'s by more than the interval."""
    mean, interval = gain(hits, other)
    return Claim(text, interval[0] > 0, gain_text(mean, interval) + (f"; by seed {by_seed}" if by_seed else ""))


def text_of(
    found: Sequence[Measured],
    provenance: str,
    claims: Sequence[Claim],
    before: tuple[np.ndarray, np.ndarray] | None = None,
) -> str:
    """The table, its provenance and the claims, in Markdown. Without the columns on the pool where all are in it.

    before: hits (N,) and MAP@R (N,) of the weights that training starts from, for a first row.
    """
    pool = ["in the pool", "not in it"] if not all(one.in_pool.all() for one in found) else []
    headings = ["recipe", "round", "Recall@1, never labelled", "gain over round 0", "by seed", "MAP@R"]
    headings += [*pool, "selected", "right pairs", "new products found"]
    rows = [_cells(one, number, bool(pool)) for one in found for number in range(len(one.hits))]
    if before is not None:
        hits, map_at_r = before
        first = ["before any training", "", _score(hits), "", "", _score(map_at_r)]
        rows.insert(0, [*first, *[""] * (len(headings) - len(first))])
    return table_text(headings, "l" + "r" * (len(headings) - 1), rows, provenance, claims)


def provenance(runs: Sequence[DiscoveryRun], queries: str, script: str, words: Sequence[str] | None) -> str:
    """One paragraph: what was run, on what and when. queries: what they are, behind their number."""
    train = runs[0].options.train
    return (
        f"Percent of the {queries}; selected and right pairs: means over the seeds; each round trains"
        f" {train.num_epochs} epochs of {train.steps_per_epoch} steps of {train.batch_size}"
    ) + made_by(script, runs[0].smoke, words)


def seeds_of(runs: Sequence[DiscoveryRun]) -> str:
    return ", ".join(map(str, sorted({run.seed for run in runs})))


def _in_pool(run: DiscoveryRun) -> np.ndarray:
    table = run.files.table
    assert table.true_labels is not None
    shown = table.true_labels[run.files.rows("unlabelled")]
    return np.isin(run.files.read_embeddings(0, "test").labels, shown)


def _cells(found: Measured, number: int, with_pool: bool) -> list[str]:
    hits, first = found.hits[number], found.hits[0]
    cells = [f"`{found.recipe}`", str(number), _score(hits)]
    if number:
        cells += [gain_text(*gain(hits, first)), gains_by_seed(found, number)]
    else:
        cells += ["", ""]
    cells.append(_score(found.map_at_r[number]))
    if with_pool:
        cells += [percent(hits[part].mean()) if part.any() else "n/a" for part in (found.in_pool, ~found.in_pool)]
    reports = found.truth[number]
    cells.append(_mean([report["selection"]["coverage"] for report in reports]))
    cells.append(_mean([report["truth"]["selection"]["all"]["pairwise_precision"] for report in reports]))
    new = [report["truth"]["new_classes"] for report in reports]
    cells.append(" / ".join(f"{one['num_new_classes_found']} of {one['num_new_classes']}" for one in new))
    return cells


def _score(of_query: np.ndarray) -> str:
    mean, (low, high) = gain(of_query, np.zeros_like(of_query))
    return f"{percent(mean)} ({percent(low)} - {percent(high)})"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return percent(sum(known) / len(known)) if known else "n/a"
