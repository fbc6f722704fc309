"""What discovery reaches on shops, round by round: the default, the original's recipe in the same budget, a control.

    make table-discovery

Every seed has a generated shop of its own; the recipe was sought on those of seeds 0 to 3, which the table leaves out.
Ends with the table and its claims in docs/discovery.md, between the two markers there. What is measured, and how the
command goes on: discovery_rows.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

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
    seeds_of,
    text_of,
)
from table_runner import Claim, parser_of, publish, run_as_script

from shelfmark.shop import generate_shop, is_complete
from shelfmark.shop.discovery_shop import NAME as DISCOVERY_SHOP
from shelfmark.shop.discovery_shop import write_discovery_shop

NAME = "table-discovery"
DEFAULT, ORIGINAL, CONTROL = RECIPES = "shop", "shop_original", "shop_labelled"
SEEDS = [4, 5, 6]


@dataclass(frozen=True)
class ShopRun(DiscoveryRun):
    """A recipe of discovery on the shop of a seed."""

    def make_data(self) -> None:
        if not is_complete(self.data):
            generate_shop(self.data, self.seed)
        if not (self.data / DISCOVERY_SHOP).is_file():
            write_discovery_shop(self.data, self.seed)


def main(words: Sequence[str] | None = None) -> None:
    options = _parsed(words)
    runs = planned(ShopRun, RECIPES, options.seeds, work=options.work, smoke=options.smoke, rounds=options.rounds)
    found = made(runs)
    queries = (
        f"{found[0].hits.shape[1]:,} queries of the shops of seeds {seeds_of(runs)}, with 95% intervals over queries,"
        " of whose products unlabelled images are in the pool or are not"
    )
    said = provenance(runs, queries, "table_discovery.py", words)
    publish(PAGE, NAME, text_of(found, said, claims_of(*found)), options.write)


def claims_of(default: Measured, original: Measured, control: Measured) -> list[Claim]:
    """What is claimed of each round after the first, judged by the figures; a claim that fails says so."""
    claims = []
    for number in range(1, len(default.hits)):
        hits = default.hits[number]
        rises = (
            f"with the default, Recall@1 on products never labelled rises from round 0 to round {number} by more than"
            " the interval"
        )
        alone = f"after round {number} it is ahead of as much training on the labelled images alone"
        claims += [
            ahead(rises, hits, default.hits[0], gains_by_seed(default, number)),
            ahead(f"the default is ahead of the original's recipe after round {number}", hits, original.hits[number]),
            ahead(alone, hits, control.hits[number]),
        ]
    return claims


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    what = "run three recipes of discovery on shops and write their table"
    return options_of(parser_of(what, "log/discovery_table", SEEDS, "docs/discovery.md"), SEEDS, words)


if __name__ == "__main__":
    run_as_script(main)
