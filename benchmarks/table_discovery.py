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
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from measuring import device_names, versions

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_text
from shelfmark.evaluation.retrieval import search_scores
from shelfmark.ops.bootstrap import mean_intervals
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.smoke import discovery_smoke_overrides
from shelfmark.recipe import Recipe
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.shop import generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "discovery.md"
DEFAULT, ORIGINAL, CONTROL = RECIPES = "shop", "shop_original", "shop_labelled"
SEEDS = [4, 5, 6]
BEGIN, END = "<!-- table-discovery: begin -->", "<!-- table-discovery: end -->"
SAME = ("data", "augment", "optim", "train")
"""Parts of the recipe, but for the shop's folder, that methods share, or the comparison would mean nothing."""


@dataclass(frozen=True)
class Run:
    """A recipe on the shop of a seed, in a folder of `work`."""

    recipe: str
    seed: int
    rounds: int
    work: Path
    smoke: bool = False

    @property
    def files(self) -> RunFiles:
        return RunFiles(self.work / f"{self.recipe}_seed{self.seed}")

    @property
    def data(self) -> Path:
        """The shop, which all recipes share."""
        return self.work / f"data_seed{self.seed}"

    @property
    def words(self) -> list[str]:
        """The command line behind `shelfmark`."""
        file = ROOT / "configs" / "discovery" / f"{self.recipe}.yaml"
        return ["discover", "--config", str(file), *(["--smoke"] if self.smoke else []), *self._overrides]

    @cached_property
    def options(self) -> Recipe:
        """What it is run with."""
        file = ROOT / "configs" / "discovery" / f"{self.recipe}.yaml"
        overrides = [parse_override(word) for word in self._overrides]
        recipe: Recipe = load(Recipe, file, overrides).config
        return load(Recipe, file, [*discovery_smoke_overrides(recipe), *overrides]).config if self.smoke else recipe

    @property
    def _overrides(self) -> list[str]:
        names = [f"name={self.files.folder.name}", f"seed={self.seed}", f"output.log_root={self.work}"]
        shop = [] if self.smoke else [f"data.root={self.data}", f"discovery.annotations={self.data / DISCOVERY_SHOP}"]
        return [*names, *shop, f"discovery.rounds={self.rounds}"]


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
    runs = [
        Run(recipe, seed, options.rounds, options.work, options.smoke) for recipe in RECIPES for seed in options.seeds
    ]
    require_same_budget(runs)
    for run in runs:
        _make(run)
    found = [measured([run for run in runs if run.recipe == recipe]) for recipe in RECIPES]
    text = table_text(found, provenance(runs, found, words))
    print(f"\n{text}")
    if options.write:
        write_between_markers(PAGE, text)
        print(f"\nwritten into {PAGE.relative_to(ROOT)}")


def require_same_budget(runs: Sequence[Run]) -> None:
    """Raises a UserError where the recipes differ in data, size, optimizer or length of training."""
    first = _budget(runs[0])
    for run in runs:
        different = [name for name, value in _budget(run).items() if value != first[name]]
        if different:
            raise UserError(
                f"{run.recipe}.yaml and {runs[0].recipe}.yaml differ in {', '.join(different)}: with other budgets the"
                " comparison would mean nothing. Give both the same."
            )


def _budget(run: Run) -> dict[str, Any]:
    options = run.options.model_dump(mode="json", include=set(SAME))
    del options["data"]["root"]
    return options


def measured(runs: Sequence[Run]) -> Measured:
    """The hits of a recipe's runs, from the embeddings that they stored."""
    hits = [np.concatenate([_hits(run, number) for run in runs]) for number in range(runs[0].rounds)]
    truth = [[read_json(run.files.report(number)) for run in runs] for number in range(runs[0].rounds)]
    in_pool = [_in_pool(run) for run in runs]
    seeds = np.repeat([run.seed for run in runs], [len(of_run) for of_run in in_pool])
    return Measured(runs[0].recipe, np.array(hits), seeds, np.concatenate(in_pool), truth)


def gain(hits: np.ndarray, other: np.ndarray) -> tuple[float, tuple[float, float]]:
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
    return ", ".join(_signed(float(gains[found.seeds == seed].mean())) for seed in np.unique(found.seeds))


def claims_of(default: Measured, original: Measured, control: Measured) -> list[str]:
    """What is claimed of each round after the first, judged by the figures; a claim that fails says so."""
    claims = []
    for number in range(1, len(default.hits)):
        rise, (low, high) = gain(default.hits[number], default.hits[0])
        rises = f"{_signed(rise)} ({_signed(low)} to {_signed(high)}); by seed {gains_by_seed(default, number)}"
        claims += [
            _claim(
                f"with the default, Recall@1 on products never labelled rises from round 0 to round {number} by more"
                " than the interval",
                low > 0,
                rises,
            ),
            _ahead(f"the default is ahead of the original's recipe after round {number}", default, original, number),
            _ahead(
                f"after round {number} it is ahead of as much training on the labelled images alone",
                *(default, control, number),
            ),
        ]
    return claims


def table_text(found: Sequence[Measured], provenance: str) -> str:
    """The table, its provenance and the claims, in Markdown."""
    headings = ["recipe", "round", "Recall@1, never labelled", "gain over round 0", "by seed"]
    headings += ["in the pool", "not in it", "selected", "right pairs", "new products found"]
    lines = [_line(headings), "|---|" + "---:|" * (len(headings) - 1)]
    lines += [_line(_cells(one, number)) for one in found for number in range(len(one.hits))]
    claims = claims_of(*found)
    return "\n".join([*lines, "", provenance, "", "Claims, judged by these figures:", "", *claims])


def provenance(runs: Sequence[Run], found: Sequence[Measured], words: Sequence[str] | None) -> str:
    """One paragraph: what was run, on what and when."""
    command = shlex.join(["python", "benchmarks/table_discovery.py", *(sys.argv[1:] if words is None else words)])
    small = "; **with --smoke: no figure means anything**" if runs[0].smoke else ""
    train = runs[0].options.train
    seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
    return (
        f"Percent of the {found[0].hits.shape[1]:,} queries of the shops of seeds {seeds}, with 95% intervals over"
        " queries, of whose products unlabelled pictures are in the pool or are not; selected and right pairs: means"
        " over the shops;"
        f" each round trains {train.num_epochs} epochs of {train.steps_per_epoch} steps of {train.batch_size}{small}."
        f" `{command}`; {device_names()}; {versions('torch', 'timm', 'numpy')}; {time.strftime('%Y-%m-%d')}."
    )


def write_between_markers(page: Path, text: str) -> None:
    """Puts the text between the two markers of the page; all the rest stays."""
    old = page.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page} has no place for the table: it must hold the lines {BEGIN} and {END}, in this order.")
    write_text(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _make(run: Run) -> None:
    """Runs what is missing. What it says goes into a text file beside its folder."""
    run.work.mkdir(parents=True, exist_ok=True)
    if not run.smoke and not is_complete(run.data):
        generate_shop(run.data, run.seed)
    if not run.smoke and not (run.data / DISCOVERY_SHOP).is_file():
        write_discovery_shop(run.data, run.seed)
    said = run.files.folder.with_suffix(".txt")
    started = time.perf_counter()
    with open(said, "a", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "shelfmark", *run.words]
        environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **os.environ}
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    if status.returncode:
        last = said.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise UserError(f"{run.files.folder.name} could not be made: {' '.join(last)} All that it said is in {said}.")
    print(f"{run.files.folder.name}: {time.perf_counter() - started:.0f} s", flush=True)


def _hits(run: Run, number: int) -> np.ndarray:
    test = run.files.read_embeddings(number, "test")
    return search_scores(QueryGallery.of(test.features, test.labels), (1,)).first_rank <= 1


def _in_pool(run: Run) -> np.ndarray:
    table = run.files.table
    assert table.true_labels is not None
    shown = table.true_labels[run.files.rows("unlabelled")]
    return np.isin(run.files.read_embeddings(0, "test").labels, shown)


def _cells(found: Measured, number: int) -> list[str]:
    hits, first = found.hits[number], found.hits[0]
    mean, (low, high) = gain(hits, np.zeros_like(hits))
    cells = [f"`{found.recipe}`", str(number), f"{_percent(mean)} ({_percent(low)} - {_percent(high)})"]
    if number:
        rise, (least, most) = gain(hits, first)
        cells += [f"{_signed(rise)} ({_signed(least)} to {_signed(most)})", gains_by_seed(found, number)]
    else:
        cells += ["", ""]
    cells += [_percent(hits[part].mean()) if part.any() else "n/a" for part in (found.in_pool, ~found.in_pool)]
    reports = found.truth[number]
    cells.append(_mean([report["selection"]["coverage"] for report in reports]))
    cells.append(_mean([report["truth"]["selection"]["all"]["pairwise_precision"] for report in reports]))
    new = [report["truth"]["new_classes"] for report in reports]
    cells.append(" / ".join(f"{one['num_new_classes_found']} of {one['num_new_classes']}" for one in new))
    return cells


def _ahead(text: str, one: Measured, other: Measured, number: int) -> str:
    mean, (low, high) = gain(one.hits[number], other.hits[number])
    return _claim(text, low > 0, f"{_signed(mean)} ({_signed(low)} to {_signed(high)})")


def _claim(text: str, held: bool, figures: str) -> str:
    return f"- {'held' if held else '**failed**'}: {text} ({figures})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _percent(sum(known) / len(known)) if known else "n/a"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="run three recipes of discovery on shops and write their table")
    parser.add_argument("work", type=Path, nargs="?", default=Path("log/discovery_table"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the shops and the runs")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of each run (default: 2)")
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        help="put the table into docs/discovery.md (default: where it is the whole one)",
    )
    parser.add_argument("--smoke", action="store_true", help="run each for seconds, to try the command")
    options = parser.parse_args(words)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: a gain over round 0 needs 2 or more")
    if options.write is None:
        options.write = not options.smoke and options.seeds == SEEDS
    return options


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
