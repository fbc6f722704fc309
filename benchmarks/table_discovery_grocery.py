"""What discovery reaches on grocery photographs from the starter weights, beside as much training without it.

    make table-discovery-grocery

Every seed draws anew which 41 of the 81 classes are labelled. The queries are the val photographs of the other 40; each
is searched among all others of its seed. The recipe was tried on seed 0, which the table leaves out. Ends with the
table and its claims in docs/discovery.md, between the two markers there. How the command goes on: discovery_rows.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import discovery_rows
import numpy as np
from discovery_rows import (
    PAGE,
    DiscoveryRun,
    Measured,
    ahead,
    gains_by_seed,
    made,
    options_of,
    planned,
    provenance,
    search_of,
    seeds_of,
    text_of,
)
from measuring import GROCERY
from table_runner import Claim, Run, parser_of, publish, run_as_script

from shelfmark.data.converters.grocery import prepare_grocery
from shelfmark.pipelines.discover.sets import set_table
from shelfmark.recipe import assemble
from shelfmark.runtime.features import features_of
from shelfmark.runtime.trained_model import open_model

NAME = "table-discovery-grocery"
DEFAULT, CONTROL = RECIPES = "grocery", "grocery_labelled"
SEEDS = [1, 2, 3]


@dataclass(frozen=True)
class GroceryRun(DiscoveryRun):
    """A recipe of discovery on the grocery photographs, half of whose classes are labelled. source: the photographs."""

    source: Path = field(kw_only=True)

    def make_data(self) -> None:
        if not (self.data / "discovery.json").is_file():
            prepare_grocery(self.source, self.data, self.seed)


def main(words: Sequence[str] | None = None) -> None:
    options = _parsed(words)
    given = {"work": options.work, "smoke": options.smoke, "rounds": options.rounds, "source": options.source}
    runs = planned(GroceryRun, RECIPES, options.seeds, **given)
    found = made(runs, budget)
    queries = f"{found[0].hits.shape[1]:,} queries of seeds {seeds_of(runs)}, with 95% intervals over queries"
    if found[0].in_pool.all():
        queries += "; unlabelled photographs show the product of every query"
    said = provenance(runs, queries, "table_discovery_grocery.py", words)
    before = untrained([run for run in runs if run.recipe == DEFAULT])
    publish(PAGE, NAME, text_of(found, said, claims_of(*found, before[0]), before), options.write)


def budget(run: Run) -> dict[str, Any]:
    """What the runs must share: all that shapes them but the selection."""
    discovery = run.options.discovery.model_dump(mode="json", exclude={"annotations", "selection"})
    return discovery_rows.budget(run) | {"discovery": discovery}


def untrained(runs: Sequence[DiscoveryRun]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool and (N,) float64: hits and MAP@R of the weights that training starts from, on the same queries."""
    found = []
    for run in runs:
        network = assemble.network(run.options, len(run.files.read_sets().known_classes))
        folder, precision = run.work / f"before_{run.folder.name}", open_model(run.files.model(0)).precision
        test = set_table(run.files, "test")
        found.append(features_of(network, run.options, test, folder, made_by="before training", precision=precision))
    return search_of(found)


def claims_of(default: Measured, control: Measured, before: np.ndarray) -> list[Claim]:
    """What is claimed of each round after the first, judged by the figures; a claim that fails says so.

    before: (N,) bool, the hits before any training.
    """
    claims = []
    for number in range(1, len(default.hits)):
        hits, other = default.hits[number], control.hits[number]
        better = f"after round {number} Recall@1 is ahead of that of the weights before any training"
        rises = f"Recall@1 on products never labelled rises from round 0 to round {number} by more than the interval"
        alone = f"after round {number} it is ahead of as much training on the labelled images alone"
        claims += [
            ahead(rises, hits, default.hits[0], gains_by_seed(default, number)),
            ahead(alone, hits, other, gains_by_seed(default, number, other)),
            ahead(
                f"after round {number} its MAP@R is ahead of the control's",
                default.map_at_r[number],
                control.map_at_r[number],
            ),
            ahead(better, hits, before, gains_by_seed(default, number, before)),
        ]
    return claims


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of(
        "run discovery and its control on grocery photographs and write their table",
        "log/discovery_grocery_table",
        SEEDS,
        "docs/discovery.md",
    )
    parser.add_argument(
        "--source", type=Path, default=GROCERY, help="the copy of GroceryStoreDataset (default: %(default)s)"
    )
    return options_of(parser, SEEDS, words)


if __name__ == "__main__":
    run_as_script(main)
